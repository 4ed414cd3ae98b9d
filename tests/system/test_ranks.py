"""The processes that torchrun and srun start, and the run folder on which they agree."""

import time

import pytest

from partoken.errors import UserError
from partoken.system import ranks
from partoken.system.ranks import Started, is_further_process, start_of_run, started_by
from tests.devices import on_devices

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
SRUN = {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}


@pytest.mark.parametrize(
    ("environment", "started", "further"),
    [
        ({}, None, False),
        (TORCHRUN, Started("torchrun", 3, 4), True),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}, Started("torchrun", 0, 4), False),
        (SRUN, Started("srun", 1, 2), True),
        ({**SRUN, "SLURM_PROCID": "0"}, Started("srun", 0, 2), False),
        ({"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, None, False),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, None, True),
    ],
    ids=["alone", "torchrun", "torchrun, first", "srun", "srun, first", "a script of SLURM without srun", "Lightning"],
)
def test_the_environment_tells_who_has_started_the_processes(environment, started, further):
    assert started_by(environment) == started
    assert is_further_process(environment) is further


def test_two_runs_that_start_alone_have_different_names():
    before = time.time()
    (first, name), (_, other) = start_of_run(), start_of_run()
    assert before <= first <= time.time()
    assert name != other


def test_the_processes_of_torchrun_agree_on_time_and_name():
    first, second = on_devices(start_of_run, join=False)
    assert first == second
    assert len(first[1]) == 6


def test_the_processes_of_srun_agree_on_time_and_name(monkeypatch):
    for name, value in {**SRUN, "SLURM_JOB_START_TIME": "1790000000"}.items():
        monkeypatch.setenv(name, value)
    assert start_of_run() == (1790000000.0, "77-0")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert start_of_run() == (1790000000.0, "77-0-2"), "a job that SLURM starts again has a folder of its own"


def test_without_a_start_time_from_slurm_the_user_chooses_the_folder():
    with pytest.raises(UserError, match=r"hydra\.run\.dir"):
        ranks._from_slurm(SRUN)
