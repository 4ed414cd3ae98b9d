"""Jobs on a Ray cluster: without the package there is one message; with it, a cluster on this machine runs them."""

import os
import signal
import sys

import pytest

from partoken.errors import UserError
from partoken.sweep.ray import RayLauncher
from partoken.system.run_status import read_status
from tests.sweep import fake_run
from tests.sweep.jobs import exit_status, is_alive, is_running, task, until


def test_without_the_package_a_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'partoken\[ray\]'"):
        RayLauncher(fake_run.train, 2, 1, tmp_path)


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    pytest.importorskip("ray")
    launcher = RayLauncher(fake_run.train, 3, 1, tmp_path_factory.mktemp("sweep"))
    yield launcher
    launcher.close()


@pytest.mark.filterwarnings("ignore")  # Ray opens sockets that it closes at the end
class TestWithRay:
    def test_jobs_return_their_exit_status(self, launcher, tmp_path):
        handles = [launcher.start(task(tmp_path / do, do)) for do in ("finish", "fail")]
        assert [exit_status(handle) for handle in handles] == [0, 2]
        assert "threads 1 arguments do=finish" in (tmp_path / "finish/output.log").read_text()

    def test_a_job_can_be_asked_to_end(self, launcher, tmp_path):
        handle = launcher.start(task(tmp_path / "0", "wait"))
        until(lambda: is_running(tmp_path / "0"))
        handle.terminate()
        assert exit_status(handle) in (128 + signal.SIGTERM, -signal.SIGTERM)
        until(lambda: read_status(tmp_path / "0").reason == "ended by SIGTERM")

    def test_a_job_can_be_killed(self, launcher, tmp_path):
        handle = launcher.start(task(tmp_path / "0", "wait"))
        until(lambda: is_running(tmp_path / "0"))
        handle.kill()
        assert exit_status(handle) < 0
        assert handle.reason
        until(lambda: not is_alive(read_status(tmp_path / "0").pid))

    def test_a_job_that_waits_for_cores_is_cancelled(self, launcher, tmp_path):
        cores = len(os.sched_getaffinity(0))
        handles = [launcher.start(task(tmp_path / str(number), "wait")) for number in range(cores + 1)]
        for handle in handles:
            handle.terminate()
        assert all(exit_status(handle) != 0 for handle in handles)

    def test_a_job_that_cannot_be_started_says_why(self, launcher, tmp_path):
        job = task(tmp_path / "0")
        (tmp_path / "0/output.log").mkdir()
        handle = launcher.start(job)
        assert exit_status(handle) == 1
        assert "IsADirectoryError" in handle.reason

    @pytest.mark.parametrize(("gpus", "cpus"), [(1000, 1), (0, 1000)])
    def test_a_job_that_fits_on_no_machine_is_an_error(self, launcher, gpus, cpus, monkeypatch):
        monkeypatch.setattr(launcher._ray, "shutdown", lambda: None)
        with pytest.raises(UserError, match=f"a job needs {cpus} cores and {gpus} GPUs"):
            launcher._check_resources(cpus, gpus)
