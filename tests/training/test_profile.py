"""Where the time of a run goes."""

import logging

import pytest

from partoken.errors import UserError
from partoken.training.engine import carry_out
from tests.training.runs import settings


def test_the_table_of_every_stage_is_in_the_log_and_in_the_run_folder(tmp_path, caplog):
    stages = {"first": {"epochs": 1}, "second": {"epochs": 2}}
    with caplog.at_level(logging.INFO, "partoken.training.profile"):
        carry_out(settings(trainer={"profiler": "simple"}, stages=stages, warmup_steps=0), tmp_path)
    table = (tmp_path / "profile_second.txt").read_text()
    [row] = [line.split() for line in table.splitlines() if line.startswith("run_training_epoch")]
    name, seconds, share, calls, mean, unit = row
    assert (name, calls, unit) == ("run_training_epoch", "2", "ms")
    assert float(mean) * 2 == pytest.approx(float(seconds) * 1000, abs=15)
    assert 0 < float(share.rstrip("%")) <= 100
    assert (tmp_path / "profile_first.txt").exists()
    assert f"all of them are in {tmp_path / 'profile_second.txt'}" in caplog.text


def test_the_functions_of_python_are_written_into_the_run_folder(tmp_path):
    carry_out(settings(trainer={"profiler": "advanced"}, epochs=1, warmup_steps=0), tmp_path)
    assert "training_step" in (tmp_path / "fit-profile.txt").read_text()


def test_an_unknown_profiler_is_rejected(tmp_path):
    with pytest.raises(UserError, match=r"trainer\.profiler=simpel: choose simple, advanced, pytorch or null"):
        carry_out(settings(trainer={"profiler": "simpel"}), tmp_path)
