"""Settings that do not fit the processes of the run."""

import pytest

from partoken.errors import UserError
from partoken.training.checks import check_before_reading
from partoken.training.settings import TrainSettings
from tests.training.runs import settings


def check(**trainer):
    groups = settings(trainer=trainer)
    check_before_reading(TrainSettings.read(groups["train"]), groups)


@pytest.fixture
def torchrun(monkeypatch):
    """Makes this process one of four that torchrun has started."""
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("trainer", [{"devices": 4}, {"devices": 2, "num_nodes": 2}])
def test_devices_times_machines_are_the_processes_that_torchrun_has_started(torchrun, trainer):
    check(**trainer)


@pytest.mark.parametrize("trainer", [{}, {"devices": 2}, {"devices": 4, "num_nodes": 2}])
def test_a_run_on_other_devices_than_torchrun_has_started_is_rejected(torchrun, trainer):
    with pytest.raises(UserError, match=r"torchrun has started 4 processes, but trainer\.devices"):
        check(**trainer)


def test_several_machines_without_torchrun_or_srun_are_rejected():
    with pytest.raises(UserError, match=r"trainer\.num_nodes=2: .*torchrun or srun"):
        check(num_nodes=2)
