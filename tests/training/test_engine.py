"""The engine carries out a run of any domain and leaves a folder that a person can read."""

import json
import math

import pytest
import torch

from partoken.errors import UserError
from partoken.report import present
from partoken.schedule import RunLength
from partoken.system.checkpoint import read_checkpoint
from partoken.system.run_status import read_status
from partoken.system.tables import read_table
from partoken.training.engine import carry_out, check_outcome
from tests.training.runs import settings


def test_a_run_of_the_toy_domain_leaves_a_complete_folder(tmp_path):
    summary = carry_out(settings(), tmp_path)
    present(tmp_path)
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "lr.csv", "metrics.csv", "plots/learning_rate.png"):
        assert (tmp_path / name).stat().st_size > 0
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert not list(tmp_path.rglob("*.partial"))
    assert len(read_table(tmp_path / "metrics.csv")) == 3
    assert len(read_table(tmp_path / "lr.csv")) == 21 * 2  # 7 batches, 3 epochs, two parameter groups
    assert summary["schedule"]["errors"] == []
    assert summary["schedule"]["steps"] == summary["schedule"]["planned_steps"] == 21
    assert summary["schedule"]["largest_deviation"] == 0


def test_a_run_starts_with_the_weights_of_another_run(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    carry_out(settings(), first)
    carry_out(settings(weights_from=str(first), lr=1e-12), second)
    given = read_checkpoint(first / "checkpoints/best.ckpt")["state_dict"]
    left = read_checkpoint(second / "checkpoints/last.ckpt")["state_dict"]
    assert all(torch.allclose(left[name], given[name], atol=1e-9) for name in given)


def test_a_resumed_run_takes_its_own_weights_and_not_those_it_began_with(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    carry_out(settings(), first)
    carry_out(settings(weights_from=str(first), epochs=2), second)
    (first / "checkpoints/best.ckpt").unlink()  # no longer needed
    last = second / "checkpoints/last.ckpt"
    before = read_checkpoint(last)["state_dict"]
    resumed = {"resume_from": str(last), "on_schedule_change": "extend", "lr": 1e-12}
    carry_out(settings(weights_from=str(first), **resumed), second)
    after = read_checkpoint(last)["state_dict"]
    assert all(torch.allclose(after[name], before[name], atol=1e-9) for name in after)


@pytest.mark.parametrize("content", ["missing", "no folder", "broken", "another model"])
def test_weights_that_cannot_be_used_are_refused_before_the_training(content, tmp_path):
    path = tmp_path / ("given" if content == "no folder" else "given.ckpt")
    folder = tmp_path / "run"
    folder.mkdir()
    if content == "broken":
        path.write_text("no weights")
    if content == "another model":
        torch.save({"state_dict": {"network.0.weight": torch.zeros(5, 3)}}, path)
    with pytest.raises(UserError, match=r"train\.weights_from") as caught:
        carry_out(settings(weights_from=str(path)), folder)
    assert str(path) in str(caught.value)
    assert not (folder / "checkpoints").exists()


def test_the_best_checkpoint_is_tested(tmp_path):
    summary = carry_out(settings(monitor_mode="max"), tmp_path)  # the loss falls, so this asks for an early epoch
    losses = [float(r["val_loss"]) for r in read_table(tmp_path / "metrics.csv")]
    assert summary["best_epoch"] == losses.index(max(losses)) < 2
    assert summary["monitor"]["best"] == pytest.approx(max(losses))
    assert summary["test"]["loss"] == pytest.approx(max(losses))  # the toy tests on its validation points


def test_the_same_seed_gives_the_same_numbers(tmp_path):
    tables = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        carry_out(settings(), tmp_path / name)
        tables.append([r["train_loss"] for r in read_table(tmp_path / name / "metrics.csv")])
    assert tables[0] == tables[1]


def test_the_last_checkpoint_is_of_the_last_epoch_even_when_the_monitor_got_worse(tmp_path):
    carry_out(settings(epochs=5), tmp_path)
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["epoch"] == 4


@pytest.mark.filterwarnings("ignore:Error detected in MulBackward0")
def test_the_operation_whose_gradient_is_not_a_number_is_named(tmp_path):
    model = {"_target_": "tests.training.toy.RootOfZero"}
    with pytest.raises(UserError, match=r"trainer\.detect_anomaly: Function 'MulBackward0' returned nan values"):
        carry_out(settings(model=model, trainer={"detect_anomaly": True}), tmp_path)


def test_early_stopping_ends_the_run_and_is_no_error(tmp_path):
    summary = carry_out(settings(epochs=40, lr=1.0, early_stopping_patience=2), tmp_path)
    assert summary["epochs"] < 40
    assert summary["schedule"]["errors"] == []
    assert "stopped early" in summary["schedule"]["verdict"]


def test_a_rate_that_leaves_the_plan_is_an_error_after_everything_is_written(tmp_path, monkeypatch):
    build = torch.optim.lr_scheduler.LambdaLR.__init__

    def late(self, optimizer, lr_lambda, *args, **kwargs):
        functions = lr_lambda if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * len(optimizer.param_groups)
        build(self, optimizer, [lambda t, f=f: f(t + 1) for f in functions], *args, **kwargs)

    monkeypatch.setattr(torch.optim.lr_scheduler.LambdaLR, "__init__", late)
    with pytest.raises(UserError, match=r"step 0 .* planned 0\.0+e\+00, applied 5\.0"):
        check_outcome(carry_out(settings(), tmp_path))
    assert json.loads((tmp_path / "summary.json").read_text())["schedule"]["errors"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, ["train.epochs=0", "1 or more"]),
        ({"lr": -1.0}, ["train.lr=-1.0", "above 0"]),
        ({"lr": 0.0}, ["train.lr=0.0"]),
        ({"lr": math.nan}, ["train.lr=nan"]),
        ({"batch_size": 0}, ["train.batch_size=0"]),
        ({"optimizer": "adagrad"}, ["train.optimizer=adagrad", "adamw"]),
        ({"weight_decay": -0.1}, ["train.weight_decay=-0.1"]),
        ({"monitor_mode": "best"}, ["train.monitor_mode=best", "max"]),
        ({"early_stopping_patience": 0}, ["train.early_stopping_patience=0"]),
        ({"resume_from": "nowhere.ckpt"}, ["nowhere.ckpt"]),
        ({"warmup_steps": 21}, ["train.warmup_steps", "21"]),
        ({"scheduler": {"_target_": "torch.optim.lr_scheduler.StepLr"}}, ["StepLr"]),
        ({"scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "size": 1}}, ["StepLR", "size"]),
        ({"scheduler": {"_target_": "torch.nn.Identity"}}, ["torch.nn.Identity"]),
        ({"trainer": {"max_step": 3}}, ["trainer.max_step", "max_steps"]),
        ({"trainer": {"precision": "33"}}, ["precision"]),
        ({"trainer": {"callbacks": []}}, ["trainer.callbacks"]),
        ({"model": {"depth": 3}}, ["model.depth is not a setting of", "~model.depth"]),
        ({"data": {"_target_": "tests.training.toy.NoData"}}, ["data", "NoData"]),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_a_user_error_is_one_message_that_names_the_key(changes, words, tmp_path):
    with pytest.raises(UserError) as caught:
        carry_out(settings(**changes), tmp_path)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([], "list of stages"),
        ([{"lr": 0.1}], "train.stages[0].epochs=None"),
        ([{"epochs": 2, "warmup_epoch": 1}], "warmup_epochs"),
        ([{"epochs": 2}, {"epochs": 3, "freeze": ["network.o"]}], "network.0"),
        ([{"epochs": 9}, {"epochs": 3, "warmup_epochs": 5}], "warmup_epochs=5"),
    ],
    ids=lambda value: "",
)
def test_impossible_stages_are_rejected(stages, words, tmp_path):
    chosen = {"schedule_interval": "epoch", "warmup_epochs": 0, "warmup_steps": None}
    with pytest.raises(UserError) as caught:
        carry_out(settings(stages=stages, **chosen), tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("trainer", "steps", "epochs"),
    [
        ({}, 21, 3),
        ({"accumulate_grad_batches": 3}, 9, 3),  # 7 batches: two whole windows and a partial one
        ({"limit_train_batches": 3}, 9, 3),
        ({"limit_train_batches": 0.5, "accumulate_grad_batches": 2}, 6, 3),
        ({"max_steps": 10}, 10, 2),  # ends in the second epoch
        ({"max_steps": 10, "max_epochs": -1}, 10, 2),
        ({"max_steps": 100}, 21, 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_the_plan_is_as_long_as_what_the_trainer_takes(trainer, steps, epochs, interval, tmp_path):
    chosen = {"step": {"warmup_steps": 2}, "epoch": {"warmup_steps": None, "warmup_epochs": 1}}[interval]
    summary = carry_out(settings(trainer=trainer, schedule_interval=interval, **chosen), tmp_path)
    schedule = summary["schedule"]
    assert schedule["steps"] == schedule["planned_steps"] == steps
    assert schedule["plan"]["curve"]["total"] == {"step": steps, "epoch": epochs}[interval]
    assert schedule["errors"] == []


def test_a_run_of_another_length_than_planned_is_an_error(tmp_path, monkeypatch):
    length = RunLength(total_epochs=3, total_steps=30, steps_per_epoch=10)
    monkeypatch.setattr("partoken.training.module.run_length", lambda module: length)
    with pytest.raises(UserError, match="30 optimizer steps were planned, 21 were taken"):
        check_outcome(carry_out(settings(), tmp_path))
    assert read_status(tmp_path).status == "failed"
    assert (tmp_path / "checkpoints/last.ckpt").exists()


def test_a_resume_of_a_finished_run_says_that_nothing_is_left(tmp_path):
    carry_out(settings(), tmp_path)
    with pytest.raises(UserError, match=r"nothing is left to train after 3 epochs and 21 steps; raise train\.epochs"):
        carry_out(settings(resume_from=str(tmp_path / "checkpoints/last.ckpt")), tmp_path)


def test_a_run_that_was_killed_while_it_drew_its_pictures_is_completed(tmp_path):
    def kill(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(settings(), tmp_path, present=kill)
    whole = json.loads((tmp_path / "summary.json").read_text())
    assert read_status(tmp_path).status == "interrupted"
    summary = carry_out(settings(resume_from=str(tmp_path / "checkpoints/last.ckpt")), tmp_path)
    assert read_status(tmp_path).status == "finished"
    for key in ("test", "monitor", "best_epoch", "epochs", "seed"):
        assert summary[key] == whole[key]
    assert summary["schedule"]["steps"] == whole["schedule"]["steps"]
    assert summary["schedule"]["errors"] == []


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield torch.ones(2, 3), torch.ones(2, 1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_run_without_an_end_is_rejected_with_the_key_to_set(tmp_path, monkeypatch):
    loader = torch.utils.data.DataLoader(Endless(), batch_size=None)
    monkeypatch.setattr("tests.training.toy.ToyData.train_dataloader", lambda self: loader)
    with pytest.raises(UserError, match=r"trainer\.max_steps"):
        carry_out(settings(), tmp_path)
    summary = carry_out(settings(trainer={"max_steps": 6, "val_check_interval": 3}), tmp_path)
    assert summary["schedule"]["steps"] == summary["schedule"]["planned_steps"] == 6
