"""What may differ between a run and its resume: every change takes effect, or is refused before training."""

import shutil

import pytest
import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.system.checkpoint import read_checkpoint
from partoken.training.engine import carry_out, check_outcome
from tests.training.runs import settings

CONSTANT = {"use_cosine_schedule": False, "warmup_steps": None}
BY_EPOCH = {"schedule_interval": "epoch", "warmup_steps": None, "warmup_epochs": 0}
STEP = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.5}
STEPPED = {"scheduler": STEP, "schedule_interval": "epoch", **CONSTANT}

RUNS = {
    "constant": {"optimizer": "adamw", "early_stopping_patience": 5, "data": {"size": 14}, **CONSTANT},
    "cosine": {"warmup_steps": 2},
    "by epoch": BY_EPOCH,
    "stepped": STEPPED,
}
"""Runs of 3 epochs of 7 steps, stopped after the first."""


class PowerCut(pl.Callback):
    """Ends the run when its second epoch begins."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            raise RuntimeError("power cut")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns the last checkpoint of one of `RUNS`."""
    made = {}

    def checkpoint(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("saved")
            with pytest.raises(RuntimeError, match="power cut"):
                carry_out(settings(**RUNS[name]), made[name], callbacks=[PowerCut()])
        return str(made[name] / "checkpoints/last.ckpt")

    return checkpoint


def resume(checkpoint, folder, **changes):
    summary = carry_out(settings(resume_from=str(checkpoint), **changes), folder)
    check_outcome(summary)
    return summary, read_checkpoint(folder / "checkpoints/last.ckpt")


def refusal(checkpoint, folder, **changes):
    with pytest.raises(UserError) as caught:
        carry_out(settings(resume_from=str(checkpoint), **changes), folder)
    assert not (folder / "lr.csv").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("run", "changes", "words"),
    [
        ("constant", {"optimizer": "adam"}, ["train.optimizer was adamw and is adam"]),
        ("constant", {"seed": 3}, ["train.seed was 0 and is 3"]),
        ("constant", {"monitor": "train_loss"}, ["train.monitor was val_loss and is train_loss"]),
        ("constant", {"monitor_mode": "max"}, ["train.monitor_mode was min and is max"]),
        ("constant", {"weights_from": "other.ckpt"}, ["train.weights_from was None and is other.ckpt"]),
        ("constant", {"data": {"size": 20}}, ["data.size was 14 and is 20"]),
        ("constant", {"lr": 0.2}, ["train.lr was 0.1 and is 0.2", "=keep", "=extend"]),
        ("constant", {"scheduler": STEP, "schedule_interval": "epoch"}, ["train.scheduler._target_ was None"]),
        ("stepped", {"scheduler": {**STEP, "gamma": 0.1}}, ["train.scheduler.gamma was 0.5 and is 0.1"]),
        ("stepped", {"scheduler": {**STEP, "_target_": "torch.optim.lr_scheduler.ExponentialLR"}}, ["ExponentialLR"]),
        ("stepped", {"scheduler": None}, ["train.scheduler._target_ was torch.optim.lr_scheduler.StepLR and is None"]),
        ("stepped", {"lr": 0.2}, ["train.lr was 0.1 and is 0.2"]),
        ("stepped", {"schedule_interval": "step"}, ["train.schedule_interval was epoch and is step"]),
        ("cosine", {"epochs": 5}, ["step 21", "step 35", "train.epochs", "=extend"]),
        ("cosine", {"batch_size": 1}, ["step 21", "step 35", "train.batch_size", "=extend"]),
        ("cosine", {"trainer": {"accumulate_grad_batches": 2}}, ["step 21", "step 15", "accumulate_grad_batches"]),
        ("cosine", {"trainer": {"limit_train_batches": 4}}, ["step 21", "step 15", "limits of the trainer"]),
        ("cosine", {"epochs": 5, "on_schedule_change": "keep"}, ["ends after 21 steps", "35 steps", "=extend"]),
        ("cosine", {"batch_size": 1, "on_schedule_change": "keep"}, ["ends after 21 steps", "35 steps", "=extend"]),
        ("by epoch", {"epochs": 2, "on_schedule_change": "keep"}, ["ends after 3 epochs", "2 epochs"]),
        ("by epoch", {"schedule_interval": "step", "on_schedule_change": "extend"}, ["was epoch and is step"]),
        ("constant", {"trainer": {"max_steps": 5}}, ["7 steps", "trainer.max_steps=5"]),
    ],
)
def test_a_change_that_a_resume_cannot_make_is_refused_by_key_before_training(tmp_path, saved, run, changes, words):
    message = refusal(saved(run), tmp_path, **{**RUNS[run], **changes})
    assert all(word in message for word in [*words, "train."]), message


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"epochs": 1}, "train.epochs"), ({"trainer": {"max_epochs": 1}}, "trainer.max_epochs")],
    ids=["train", "trainer"],
)
def test_a_finished_run_is_refused_before_the_data_are_read(tmp_path, saved, changes, key):
    """Alone, without the folder of its run, a checkpoint does not wait for its test."""
    shutil.copyfile(saved("constant"), tmp_path / "alone.ckpt")
    message = refusal(tmp_path / "alone.ckpt", tmp_path, **{**RUNS["constant"], **changes})
    assert f"the run is finished, nothing is left to train after 1 epochs and 7 steps; raise {key}" in message
    assert not (tmp_path / "data_report.json").exists()


@pytest.mark.parametrize("run", ["by epoch", "stepped"])
@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"batch_size": 1}, 7 + 2 * 14),
        ({"trainer": {"accumulate_grad_batches": 2}}, 7 + 2 * 4),
        ({"trainer": {"limit_train_batches": 3}}, 7 + 2 * 3),
    ],
    ids=["batch size", "accumulation", "limit"],
)
def test_a_plan_that_does_not_count_steps_goes_on_with_another_number_of_them(tmp_path, saved, run, changes, steps):
    summary, _ = resume(saved(run), tmp_path, **{**RUNS[run], **changes})
    assert summary["schedule"]["steps"] == steps
    assert summary["schedule"].get("planned_steps", steps) == steps


def test_an_extended_plan_ends_where_the_run_ends(tmp_path, saved):
    """7 steps are done, and the two epochs that follow have 14 each."""
    summary, _ = resume(saved("cosine"), tmp_path, batch_size=1, on_schedule_change="extend")
    assert summary["schedule"]["plan"]["curve"]["total"] == summary["schedule"]["steps"] == 7 + 2 * 14


def test_a_kept_constant_rate_holds_for_any_length(tmp_path, saved):
    changes = {**RUNS["constant"], "lr": 0.5, "epochs": 4, "on_schedule_change": "keep"}
    summary, _ = resume(saved("constant"), tmp_path, **changes)
    assert (summary["schedule"]["plan"]["lr"], summary["schedule"]["steps"]) == (0.1, 28)


def test_another_weight_decay_takes_effect(tmp_path, saved):
    _, checkpoint = resume(saved("constant"), tmp_path, **{**RUNS["constant"], "weight_decay": 0.25})
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.25, 0.0]


def test_another_patience_takes_effect(tmp_path, saved):
    _, checkpoint = resume(saved("constant"), tmp_path, **{**RUNS["constant"], "early_stopping_patience": 9})
    patience = [state["patience"] for name, state in checkpoint["callbacks"].items() if name.startswith("Patience")]
    assert patience == [9]


@pytest.mark.parametrize(
    "part", ["loops", "optimizer_states", "lr_schedulers", "callbacks", "partoken_schedule", "global_step", "moments"]
)
def test_an_incomplete_checkpoint_is_refused(tmp_path, saved, part):
    content = torch.load(saved("constant"), weights_only=True)
    if part == "moments":
        content["optimizer_states"][0]["state"] = {}
    else:
        del content[part]
    torch.save(content, tmp_path / "broken.ckpt")
    message = refusal(tmp_path / "broken.ckpt", tmp_path, **RUNS["constant"])
    assert "no training can continue from this checkpoint" in message
    assert part in message
    assert "train.weights_from" in message


def test_the_weights_of_another_program_are_refused(tmp_path, saved):
    content = torch.load(saved("constant"), weights_only=True)
    torch.save({"state_dict": content["state_dict"]}, tmp_path / "foreign.ckpt")
    message = refusal(tmp_path / "foreign.ckpt", tmp_path, **RUNS["constant"])
    assert "has no loops, no optimizer_states, no lr_schedulers" in message


def test_a_limit_of_the_trainer_beside_stages_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"trainer\.max_epochs=5: the stages of train\.stages have lengths"):
        carry_out(settings(stages=[{"epochs": 1}], trainer={"max_epochs": 5}, **CONSTANT), tmp_path)


def test_a_single_stage_of_a_list_has_its_own_length(tmp_path):
    summary = carry_out(settings(stages=[{"epochs": 1}], epochs=3, **CONSTANT), tmp_path)
    assert summary["epochs"] == 1
