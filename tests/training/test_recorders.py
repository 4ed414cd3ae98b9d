"""The tables that a run writes: lr.csv and metrics.csv."""

import pytest

from partoken.system.tables import read_table
from partoken.training.engine import carry_out
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
