"""The tables that a run writes: lr.csv and metrics.csv."""

import shutil

import pytest
import pytorch_lightning as pl

from partoken.errors import UserError
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.recorders import RateRecorder, whole_run
from tests.training.runs import settings


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_the_rate_of_an_epoch_is_the_one_of_its_last_step(tmp_path, interval):
    chosen = {"epoch": {"warmup_steps": None, "warmup_epochs": 1}, "step": {"warmup_steps": 2}}[interval]
    carry_out(settings(schedule_interval=interval, **chosen), tmp_path)
    applied = [row["lr"] for row in read_table(tmp_path / "lr.csv") if row["group"] == "0"]
    assert [row["lr"] for row in read_table(tmp_path / "metrics.csv")] == applied[6::7]


def test_an_epoch_without_validation_has_no_validation_scores(tmp_path):
    carry_out(settings(epochs=4, trainer={"check_val_every_n_epoch": 2}), tmp_path)
    table = read_table(tmp_path / "metrics.csv")
    assert [bool(r["val_loss"]) for r in table] == [False, True, False, True]
    assert all(r["train_loss"] for r in table)


def test_a_row_is_one_step_of_one_parameter_group(tmp_path):
    carry_out(settings(epochs=2, warmup_steps=1), tmp_path)
    rows = read_table(tmp_path / "lr.csv")
    assert list(rows[0]) == ["step", "epoch", "group", "lr"]
    expected = [(step, step // 7, group) for step in range(14) for group in (0, 1)]
    assert [(int(row["step"]), int(row["epoch"]), int(row["group"])) for row in rows] == expected


def test_a_resume_in_the_same_folder_drops_the_rows_of_steps_that_are_taken_again(tmp_path):
    carry_out(settings(), tmp_path)
    whole = read_table(tmp_path / "lr.csv")
    other = tmp_path / "other"
    other.mkdir()
    constant = {"use_cosine_schedule": False, "warmup_steps": None}
    carry_out(settings(epochs=2, **constant), other)
    (other / "lr.csv").write_text((tmp_path / "lr.csv").read_text())  # of a run that was killed later than its save
    carry_out(settings(epochs=3, resume_from=str(other / "checkpoints/last.ckpt"), **constant), other)
    rows = read_table(other / "lr.csv")
    assert [row["step"] for row in rows] == [row["step"] for row in whole]
    assert rows[:28] == whole[:28]
    assert {row["lr"] for row in rows[28:]} == {"0.1"}
    assert [row["epoch"] for row in read_table(other / "metrics.csv")] == ["0", "1", "2"]


def test_a_kill_before_the_first_epoch_of_a_resumed_run_ends_keeps_the_rows_before(tmp_path):
    class Killed(Exception):
        pass

    class Kill(pl.Callback):
        def on_train_epoch_start(self, *_):
            found.append((tmp_path / "lr.csv").read_text())
            raise Killed

    found, constant = [], {"use_cosine_schedule": False, "warmup_steps": None}
    carry_out(settings(epochs=2, **constant), tmp_path)
    before = (tmp_path / "lr.csv").read_text()
    with open(tmp_path / "lr.csv", "a") as file:
        file.write("1")  # a part of step 14
    resumed = {
        "use_cosine_schedule": False,
        "warmup_steps": None,
        "resume_from": str(tmp_path / "checkpoints/last.ckpt"),
    }
    with pytest.raises(Killed):
        carry_out(settings(epochs=3, **resumed), tmp_path, callbacks=[Kill()])
    assert found == [before]


def stage_part(name, steps, optimizers=("",), planned=None):
    facts = {
        "plan": {"of": name},
        "planned_steps": planned or steps,
        "largest_deviation": 0.0,
        "steps": steps,
        "errors": [],
        "verdict": "",
    }
    if optimizers == ("",):
        return {"name": name, "schedule": {**facts, "skipped_steps": 0}}
    parts = {optimizer: {**facts, "plan": {"of": f"{name} {optimizer}"}} for optimizer in optimizers}
    total = steps * len(optimizers)
    schedule = {"optimizers": parts, "steps": total, "skipped_steps": 0, "verdict": "", "errors": []}
    return {"name": name, "schedule": schedule}


def test_the_schedule_of_a_run_adds_up_its_stages():
    whole = whole_run([stage_part("warm", 10), stage_part("joint", 20)])
    assert whole["plan"] == {"stages": [{"of": "warm"}, {"of": "joint"}]}
    assert (whole["steps"], whole["planned_steps"], whole["errors"]) == (30, 30, [])
    assert whole["verdict"] == "planned = applied at 30 steps of 2 stages, largest deviation 0.0e+00"


def test_a_stage_that_ended_early_is_said_in_the_verdict_of_the_run():
    whole = whole_run([stage_part("warm", 8, planned=10), stage_part("joint", 20)])
    assert "2 of 30 planned steps were not taken" in whole["verdict"]


def test_an_error_of_a_stage_is_an_error_of_the_run():
    bad = stage_part("joint", 20)
    bad["schedule"]["errors"] = ["left the plan"]
    whole = whole_run([stage_part("warm", 10), bad])
    assert whole["errors"] == ["stage joint: left the plan"] and whole["verdict"] == whole["errors"][0]


def test_stages_may_have_different_optimizers():
    """An optimizer is missing in some stages; its plan is then filled up with that of the stage's first optimizer."""
    whole = whole_run([stage_part("first", 10), stage_part("second", 20, ("generator", "discriminator"))])
    plans = {name: [plan["of"] for plan in own["plan"]["stages"]] for name, own in whole["optimizers"].items()}
    assert plans == {
        "": ["first", "second generator"],
        "generator": ["first", "second generator"],
        "discriminator": ["first", "second discriminator"],
    }
    assert (whole["steps"], whole["planned_steps"]) == (50, 50)


class Killed(pl.Callback):
    """Copies the tables as a kill would leave them: what is not yet handed to the system is lost."""

    def __init__(self, folder, copies, step):
        self.folder, self.copies, self.step = folder, copies, step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if module.optimizer_steps == self.step:
            shutil.copytree(self.folder, self.copies)


def test_a_kill_at_any_step_loses_no_row_and_the_verdict_covers_the_whole_run(tmp_path):
    """The run is killed in its second epoch, then again in its third, and finishes with all its rows checked."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    first.mkdir()
    carry_out(settings(), first, callbacks=[Killed(first, second, 10)])
    assert len(read_table(second / "lr.csv")) == 20
    last = second / "checkpoints/last.ckpt"
    carry_out(settings(resume_from=str(last)), second, callbacks=[Killed(second, third, 16)])
    assert len(read_table(third / "lr.csv")) == 32
    summary = carry_out(settings(resume_from=str(third / "checkpoints/last.ckpt")), third)
    assert read_table(third / "lr.csv") == read_table(first / "lr.csv")
    assert summary["schedule"]["verdict"].startswith("planned = applied at 21 steps")


def test_a_checkpoint_without_a_comparison_says_which_rows_were_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(RateRecorder, "state_dict", lambda self: {})  # as in an older version
    carry_out(settings(), tmp_path, callbacks=[Killed(tmp_path, tmp_path / "copy", 10)])
    summary = carry_out(settings(resume_from=str(tmp_path / "copy/checkpoints/last.ckpt")), tmp_path / "copy")
    assert "planned = applied at 14 of 21 steps (rows of step 7 to 20 in lr.csv)" in summary["schedule"]["verdict"]


def test_a_table_of_rates_that_is_none_is_one_message(tmp_path):
    carry_out(settings(), tmp_path, callbacks=[Killed(tmp_path, tmp_path / "copy", 10)])
    (tmp_path / "copy/lr.csv").write_text("step,epoch,group,lr\nmany,0,0,0.1\n")
    with pytest.raises(UserError, match=r"lr\.csv: is not a table of learning rates any more; delete it"):
        carry_out(settings(resume_from=str(tmp_path / "copy/checkpoints/last.ckpt")), tmp_path / "copy")
