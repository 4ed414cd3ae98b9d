"""A fork: a cooldown from a checkpoint of another run, its trunk, which stays as it is and may go on."""

import csv
import json
import shutil

import pytest
import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.training.engine import carry_out, check_outcome
from tests.training.runs import settings

CONSTANT = {"use_cosine_schedule": False, "schedule_interval": "epoch", "warmup_steps": None, "warmup_epochs": None}
ACCUMULATED = {"accumulate_grad_batches": 3}
"""Seven batches of an epoch make three steps, so the trunk of two epochs has six."""


def cooldown(length="50%", shape="1-sqrt", end=0):
    return {"segments": [{"length": "done"}, {"length": length, "shape": shape, "to": end}]}


class Cut(pl.Callback):
    """Ends the run after a number of batches, of all epochs together."""

    def __init__(self, batches):
        self.left = batches

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.left -= 1
        if not self.left:
            raise RuntimeError("power cut")


def make(folder, callbacks=(), trainer=(), more=(), **changes):
    folder.mkdir(parents=True, exist_ok=True)
    groups = {**settings(trainer={**ACCUMULATED, **dict(trainer)}, **{**CONSTANT, **changes}), **dict(more)}
    summary = carry_out(groups, folder, callbacks=list(callbacks))
    check_outcome(summary)
    return summary


def fork(folder, source, callbacks=(), schedule=None, **changes):
    return make(folder, callbacks, schedule=schedule or cooldown(), resume_from=str(source), **changes)


def rows(folder):
    with open(folder / "lr.csv") as file:
        return [row for row in csv.DictReader(file) if row["group"] == "0"]


def applied(folder):
    return [float(row["lr"]) for row in rows(folder)]


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def weights(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def assert_same_weights(one, other):
    one, other = weights(one), weights(other)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A run of two epochs with a constant rate by epoch, and checkpoints at its end and after four of its six steps."""
    folder = tmp_path_factory.mktemp("trunk")
    with pytest.raises(RuntimeError, match="power cut"):
        make(folder, [Cut(11)], epochs=2, more={"checkpoint": {"every_n_steps": 1}})
    shutil.copy(folder / "checkpoints/last.ckpt", folder / "checkpoints/step4.ckpt")
    make(folder, epochs=2, resume_from=str(folder / "checkpoints/last.ckpt"))
    return folder


@pytest.fixture(scope="module")
def last(trunk):
    return trunk / "checkpoints/last.ckpt"


GOLDEN = {
    "half of six steps": (cooldown("50%"), [0.1, 0.1 * (1 - (1 / 3) ** 0.5), 0.1 * (1 - (2 / 3) ** 0.5)]),
    "two steps, linear to a fifth": (cooldown("2 steps", "linear", 0.2), [0.1, 0.06]),
    "an epoch, cosine": (cooldown("1 epoch", "cosine"), [0.1, 0.075, 0.025]),
    "constant first": (
        {"segments": [{"length": "done"}, {"length": 1, "shape": "constant"}, {"length": 2, "shape": "linear"}]},
        [0.1, 0.1, 0.05],
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_a_fork_applies_the_rates_of_the_trunk_and_then_its_own(tmp_path, last, case):
    schedule, expected = GOLDEN[case]
    summary = fork(tmp_path, last, schedule=schedule)
    assert applied(tmp_path) == pytest.approx([0.1] * 6 + expected, abs=1e-15)
    assert summary["schedule"]["verdict"].startswith(f"planned = applied at {6 + len(expected)} steps, largest")
    assert "stopped early" not in summary["schedule"]["verdict"]


def test_a_fork_may_end_within_an_epoch_and_is_validated_and_tested_there(tmp_path, last):
    summary = fork(tmp_path, last, schedule=cooldown("4 steps"), trainer={"check_val_every_n_epoch": 5})
    assert len(applied(tmp_path)) == 10 and summary["epochs"] == 4 and summary["best_epoch"] in (2, 3)
    with open(tmp_path / "metrics.csv") as file:
        assert [bool(row["val_loss"]) for row in csv.DictReader(file)] == [True, True, False, True]


def test_a_fork_within_an_epoch_goes_on_with_the_next_batch(tmp_path, trunk):
    summary = fork(tmp_path, trunk / "checkpoints/step4.ckpt", schedule=cooldown("50%", "linear"))
    assert applied(tmp_path) == pytest.approx([0.1] * 4 + [0.1, 0.05], abs=1e-15)
    assert [(row["step"], row["epoch"]) for row in rows(tmp_path)[3:]] == [("3", "1"), ("4", "1"), ("5", "1")]
    assert summary["fork"] | {"trunk": None, "gained": None, "monitor": None} == {
        "trunk": None, "step": 4, "epochs": 1, "steps": 2, "gained": None, "monitor": None,
    }  # fmt: skip


def test_the_files_of_the_trunk_stay_as_they_are(tmp_path, trunk, last):
    before = contents(trunk)
    fork(tmp_path, last)
    assert contents(trunk) == before


def test_the_trunk_goes_on_as_if_nothing_had_forked(tmp_path, trunk):
    own, whole = tmp_path / "own", tmp_path / "whole"
    shutil.copytree(trunk, own)
    fork(tmp_path / "fork", own / "checkpoints/last.ckpt")
    make(own, epochs=4, resume_from=str(own / "checkpoints/last.ckpt"))
    make(whole, epochs=4)
    assert_same_weights(own, whole)
    assert (own / "lr.csv").read_bytes() == (whole / "lr.csv").read_bytes()


@pytest.mark.parametrize("batches", [2, 6, 9])
def test_a_killed_fork_goes_on_exactly(tmp_path, last, batches):
    """Before its first checkpoint, within its first epoch, and within its second."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    schedule, often = cooldown("5 steps"), {"checkpoint": {"every_n_steps": 1}}
    expected = fork(whole, last, schedule=schedule)
    with pytest.raises(RuntimeError, match="power cut"):
        fork(killed, last, [Cut(batches)], schedule=schedule, more=often)
    summary = make(killed, schedule=schedule, more={**often, "resume": "auto"})
    assert applied(killed) == applied(whole)
    assert_same_weights(killed, whole)
    assert summary["fork"] == expected["fork"] and summary["fork"]["trunk"] == str(last)
    assert summary["schedule"]["plan"] == expected["schedule"]["plan"]
    assert summary["monitor"] == expected["monitor"]


def test_the_best_checkpoint_of_a_fork_is_its_own(tmp_path, last):
    saved = torch.load(last, weights_only=True)
    for own in saved["callbacks"].values():
        if own.get("best_model_score") is not None:
            own["best_model_score"] = torch.tensor(1e-9)
    torch.save(saved, tmp_path / "good.ckpt")
    summary = fork(tmp_path / "fork", tmp_path / "good.ckpt")
    assert summary["best_epoch"] == 2
    assert summary["fork"]["gained"] == pytest.approx(1e-9 - summary["monitor"]["best"])  # of a loss: worse
    assert summary["fork"]["monitor"] == {"name": "val_loss", "best": pytest.approx(1e-9)}


COSINE = {"use_cosine_schedule": True, "warmup_epochs": 1, "min_lr": 0.01}


def test_a_fork_of_a_rate_that_moves_by_step_begins_with_the_rate_it_had(tmp_path):
    whole, cut, own = (tmp_path / name for name in ("whole", "cut", "own"))
    moving = {**COSINE, "schedule_interval": "step", "epochs": 4}
    make(whole, **moving)
    with pytest.raises(RuntimeError, match="power cut"):
        make(cut, [Cut(15)], **moving)
    summary = fork(own, cut / "checkpoints/last.ckpt", schedule=cooldown("3 steps", "linear"))
    rate = applied(whole)[6]
    assert applied(own) == pytest.approx([*applied(whole)[:6], rate, rate * 2 / 3, rate / 3], abs=1e-15)
    assert applied(own)[6] == rate and summary["schedule"]["largest_deviation"] == 0


def test_a_fork_of_a_rate_that_moves_by_epoch_moves_by_epoch(tmp_path):
    trunk, own = tmp_path / "trunk", tmp_path / "own"
    make(trunk, **{**COSINE, "epochs": 4})
    with pytest.raises(RuntimeError, match="power cut"):
        make(tmp_path / "cut", [Cut(15)], **{**COSINE, "epochs": 4})
    fork(own, tmp_path / "cut/checkpoints/last.ckpt", schedule=cooldown("100%", "linear"))
    rate = applied(trunk)[6]
    assert applied(own) == pytest.approx(applied(trunk)[:6] + [rate] * 3 + [rate / 2] * 3, abs=1e-15)


def test_every_group_of_parameters_begins_with_the_rate_it_had(tmp_path):
    groups = {"head": {"match": "network.3.*", "factor": 0.5, "min_lr": 0.02, "warmup_epochs": 0}}
    moving = {**COSINE, "schedule_interval": "step", "epochs": 4, "groups": groups}
    cut, whole, own = (tmp_path / name for name in ("cut", "whole", "own"))
    with pytest.raises(RuntimeError, match="power cut"):
        make(cut, [Cut(15)], **moving)
    make(whole, **moving)
    summary = fork(own, cut / "checkpoints/last.ckpt", schedule=cooldown("2 steps", "linear"), groups=groups)
    assert summary["schedule"]["largest_deviation"] == 0
    tables = []
    for folder in (whole, own):
        with open(folder / "lr.csv") as file:
            tables.append([(row["group"], float(row["lr"])) for row in csv.DictReader(file) if row["step"] == "6"])
    assert tables[0] == tables[1] and len({rate for _, rate in tables[0]}) == 2


def test_several_optimizers_fork_together(tmp_path):
    two = {"model": {"_target_": "tests.training.adversarial.Adversarial"}}
    changes = {"optimizers": {"discriminator": {"lr": 0.02}}, "epochs": 2}
    groups = {**settings(**{**CONSTANT, **changes}), **two}
    (tmp_path / "trunk").mkdir()
    check_outcome(carry_out(groups, tmp_path / "trunk"))
    source = tmp_path / "trunk/checkpoints/last.ckpt"
    own = {**changes, "schedule": cooldown("3 steps", "linear"), "resume_from": str(source)}
    (tmp_path / "fork").mkdir()
    summary = carry_out({**settings(**{**CONSTANT, **own}), **two}, tmp_path / "fork")
    check_outcome(summary)
    with open(tmp_path / "fork/lr.csv") as file:
        found = [row for row in csv.DictReader(file) if row["group"] == "0" and int(row["step"]) >= 14]
        taken = [(row["optimizer"], float(row["lr"])) for row in found]
    for name, peak in (("generator", 0.1), ("discriminator", 0.02)):
        assert [lr for other, lr in taken if other == name] == pytest.approx([peak, peak * 2 / 3, peak / 3])
    assert summary["fork"]["steps"] == 3


def test_other_rates_on_the_command_line_have_no_effect_and_are_named(tmp_path, last, caplog):
    fork(tmp_path, last, lr=0.5, epochs=7)
    assert applied(tmp_path)[6] == 0.1
    assert "train.epochs=7 has no effect" in caplog.text
    assert "a fork has the rates of its trunk, so these have no effect: train.lr was 0.1 and is 0.5\n" in caplog.text


REFUSED = {
    "no step": (cooldown("1%"), r"segments\[1\].length=1%: takes 0.06 of 6 steps, which rounds to none"),
    "nothing": (cooldown(0), r"all lengths are 0, so the fork has nothing to train"),
    "above the rate": (cooldown(end=1.5), r"segments\[1\].to=1.5: must be a number"),
    "rest": (cooldown("rest"), r"segments\[1\].length=rest: a fork is as long as its segments"),
    "only done": ({"segments": [{"length": "done"}]}, "a fork needs a segment after length=done"),
    "done twice": ({"segments": [{"length": "done"}] * 2}, "only the first segment of a list can be"),
    "shape of done": ({"segments": [{"length": "done", "shape": "linear"}]}, r"segments\[0\].shape: length=done is"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_fork_that_cannot_be_is_refused_before_training(tmp_path, last, case):
    schedule, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        fork(tmp_path, last, schedule=schedule)
    assert not (tmp_path / "lr.csv").exists()


def test_a_cooldown_that_would_rise_is_refused(tmp_path):
    moving = {**COSINE, "schedule_interval": "step", "epochs": 2, "warmup_epochs": 0}
    make(tmp_path / "trunk", **moving)
    with pytest.raises(UserError, match=r"segments\[1\]: the linear decay would rise from 0.1 to 0.5 of the peak"):
        fork(tmp_path / "fork", tmp_path / "trunk/checkpoints/last.ckpt", schedule=cooldown("50%", "linear", 0.5))


def test_a_fork_of_a_rate_of_zero_is_refused(tmp_path):
    make(tmp_path / "trunk", **{**COSINE, "min_lr": 0.0, "schedule_interval": "step", "epochs": 2})
    with pytest.raises(UserError, match="the rate of the checkpoint is 0 at step 6"):
        fork(tmp_path / "fork", tmp_path / "trunk/checkpoints/last.ckpt")


def test_the_folder_of_the_trunk_is_refused_and_stays_as_it_is(trunk, last):
    before = contents(trunk)
    with pytest.raises(UserError, match="is the folder of the trunk, which a fork leaves as it is"):
        fork(trunk, last)
    assert contents(trunk) == before


def test_a_fork_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="goes on from a checkpoint and none is given; name it with resume="):
        make(tmp_path / "new", schedule=cooldown())
    with pytest.raises(UserError, match=r"resume=auto: .* holds no fork that could go on"):
        make(tmp_path / "auto", schedule=cooldown(), more={"resume": "auto"})


@pytest.mark.parametrize("limit", [{"max_steps": 9}, {"max_epochs": 9}])
def test_a_limit_of_the_trainer_beside_a_fork_is_refused(tmp_path, last, limit):
    with pytest.raises(UserError, match="decides the length of a fork; leave it out"):
        fork(tmp_path, last, trainer=limit)


def test_stages_are_not_forked(tmp_path, last):
    with pytest.raises(UserError, match="forks a run of one stage"):
        fork(tmp_path, last, stages=[{"epochs": 1}])


def test_a_fork_is_not_forked_again_and_a_finished_one_has_nothing_left(tmp_path, last):
    own = tmp_path / "fork/checkpoints/last.ckpt"
    with pytest.raises(RuntimeError, match="power cut"):
        fork(tmp_path / "fork", last, [Cut(5)], more={"checkpoint": {"every_n_steps": 1}})
    with pytest.raises(UserError, match="of a fork that left its trunk at step 6 and goes on for 3 steps"):
        fork(tmp_path / "other", own, schedule=cooldown("20 steps"))
    make(tmp_path / "fork", schedule=cooldown(), resume_from=str(own))
    with pytest.raises(UserError, match="nothing is left to train after 3 epochs and 9 steps"):
        fork(tmp_path / "again", own)


def test_the_facts_of_a_fork_are_in_its_summary_and_its_table(tmp_path, trunk, last):
    from partoken.report.run import format_summary
    from partoken.sweep.results import read_results

    summary = fork(tmp_path / "a/0", last)
    trunk_best = json.loads((trunk / "summary.json").read_text())["monitor"]["best"]
    gained = trunk_best - summary["monitor"]["best"]
    assert summary["fork"]["gained"] == pytest.approx(gained) and summary["fork"]["steps"] == 3
    [line] = [line for line in format_summary(summary) if line.startswith("fork ")]
    assert f"3 steps beyond step 6 of {last}, gained {gained:.4f} in val_loss over its best" in line
    [job] = read_results(tmp_path / "a").jobs
    assert job.tests["fork_steps"] == 3 and job.tests["gained_val_loss"] == pytest.approx(gained)
