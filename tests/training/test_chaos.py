"""A short form of `benchmarks/chaos.py`: it kills toy runs in declared windows, and notices missing protections."""

import sys
from pathlib import Path

import pytest
import torch

from partoken.training.engine import carry_out
from tests.commands import IN_CLONE, ROOT
from tests.training.runs import settings
from tests.training.toy import ToyData, ToyModule

pytestmark = [
    pytest.mark.skipif(not IN_CLONE, reason="the benchmarks are in a clone alone"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def chaos():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import chaos
    import chaos_job

    yield chaos, chaos_job
    sys.path.remove(str(ROOT / "benchmarks"))


def draw(folder):
    """Stands for the report of a run."""
    (folder / "picture").touch()


def run(folder, workers, whole):
    folder.mkdir(exist_ok=True)
    groups = {**settings(), "resume": "auto", "checkpoint": {"every_n_steps": 2, "every_minutes": 5}}
    carry_out(groups, folder, present=lambda folder: draw(folder))
    return 0


def job(chaos_job):
    points = {
        "reading data": (ToyData, "setup"),
        "restoring": (ToyModule, "on_load_checkpoint"),
        "validation": (ToyModule, "validation_step"),
        "report": (sys.modules[__name__], "draw"),
    }
    return chaos_job.Job("toy", run, points)


def test_killed_runs_end_as_uninterrupted_ones(chaos, tmp_path):
    driver, chaos_job = chaos
    windows = ("reading data", "restoring", "step", "save", "rename", "validation", "report")
    result = driver.storm([job(chaos_job)], [(window, 0) for window in windows], Path(tmp_path), seed=1)
    assert sorted(kill.window for kill in result.kills) == sorted(windows)
    assert result.complaints() == []
    assert result.equal == result.runs
    assert any(kill.lost for kill in result.kills), "no kill cost anything, so none came while the run trained"
    assert result.count_alive() == 0


@pytest.mark.parametrize(
    ("protection", "complaint"), [("kills", "no kill: "), ("atomic rename", "corrupt: "), ("sync", "not synced: ")]
)
def test_a_missing_protection_is_noticed(protection, complaint, chaos, tmp_path):
    driver, chaos_job = chaos
    windows = [(window, 0) for window in driver.SELF_TEST]
    result = driver.storm([job(chaos_job)], windows, Path(tmp_path), seed=0, removed=protection)
    assert any(line.startswith(complaint) for line in result.complaints())


def test_equal_checkpoints_have_no_differences_and_others_are_named(chaos):
    _, chaos_job = chaos
    ours = {"weight": torch.zeros(2), "steps": [1, 2], "seconds": 3.0}
    assert chaos_job._unequal(ours, {**ours, "weight": torch.zeros(2), "seconds": 4.0}, "run") == []
    changed = {**ours, "weight": torch.tensor([0.0, 1e-45]), "steps": [1, 3]}
    assert chaos_job._unequal(ours, changed, "run") == ["run.weight", "run.steps[1]"]
