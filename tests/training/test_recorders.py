"""The tables that a run writes: lr.csv and metrics.csv."""

import pytest
import pytorch_lightning as pl

from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.recorders import whole_run
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
