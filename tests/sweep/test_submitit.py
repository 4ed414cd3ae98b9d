"""Jobs under SLURM: here its commands are small scripts. The executor of submitit for one machine is the real one."""

import os
import re
import signal
import subprocess
import sys

import pytest

from partoken.errors import UserError
from partoken.sweep import submitit as launcher_module
from partoken.sweep.submitit import SubmititLauncher
from partoken.system.run_status import read_status
from tests.sweep import fake_run
from tests.sweep.jobs import exit_status, is_alive, is_running, task, until

submitit = pytest.importorskip("submitit")

SCRIPTS = {
    # starts the batch file, unless the test holds all jobs; a job has a number of its own in all tests
    "sbatch": """
        number=$(date +%s%N | cut -c 8-18)
        cp "$1" $FAKE/batch
        if ! test -e $FAKE/hold; then SLURM_JOB_ID=$number bash $FAKE/batch >/dev/null 2>&1 & fi
        echo "Submitted batch job $number"
    """,
    "srun": """
        while test "${1#--}" != "$1"; do case $1 in --output|--error) shift;; esac; shift; done
        exec "$@"
    """,
    "sacct": """
        echo "JobID|State|NodeList"
        while test $# -gt 0; do test "$1" = -j && echo "$2|$(cat $FAKE/state)|none"; shift; done
    """,
    "scancel": "echo CANCELLED > $FAKE/state",
}


def local(folder, **options):
    return SubmititLauncher(fake_run.train, 2, 1, folder, executor="local", **options)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A machine with the commands of SLURM, and a folder with `state`, `batch`, and `hold` if all jobs have to wait."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, lines in SCRIPTS.items():
        (folder / name).write_text("#!/bin/bash\n" + lines)
        (folder / name).chmod(0o755)
    (folder / "state").write_text("PENDING")
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setattr(submitit.SlurmJob.watcher, "_delay_s", 0.0)
    monkeypatch.setattr(launcher_module, "POLL_SECONDS", 0.0)
    return folder


def test_jobs_on_this_machine_return_their_exit_status_and_leave_their_logs_in_the_sweep(tmp_path):
    launcher = local(tmp_path)
    handles = [launcher.start(task(tmp_path / do, do)) for do in ("finish", "fail")]
    assert [exit_status(handle) for handle in handles] == [0, 2]
    assert read_status(tmp_path / "finish").status == "finished"
    assert "threads 1 arguments do=finish" in (tmp_path / "finish/output.log").read_text()
    assert list((tmp_path / "submitit").glob("*_log.err"))


def test_a_job_on_this_machine_can_be_asked_to_end_or_be_killed(tmp_path):
    launcher = local(tmp_path)
    asked, killed = (launcher.start(task(tmp_path / name, "wait")) for name in ("asked", "killed"))
    until(lambda: is_running(tmp_path / "asked") and is_running(tmp_path / "killed"))
    asked.terminate()
    killed.kill()
    assert exit_status(asked) == 128 + signal.SIGTERM
    assert read_status(tmp_path / "asked").status == "interrupted"
    assert exit_status(killed) == -signal.SIGKILL
    assert "its process was killed" in killed.reason
    until(lambda: not is_alive(read_status(tmp_path / "killed").pid))


def test_an_interrupt_from_the_keyboard_reaches_only_the_sweep(tmp_path):
    handle = local(tmp_path).start(task(tmp_path / "0", "wait"))
    until(lambda: is_running(tmp_path / "0"))
    for process in (int(handle._job.job_id), read_status(tmp_path / "0").pid):
        os.kill(process, signal.SIGINT)
    assert handle.poll() is None
    handle.terminate()
    assert exit_status(handle) == 128 + signal.SIGTERM


def test_a_job_that_cannot_be_started_says_why(tmp_path):
    job = task(tmp_path / "0")
    (tmp_path / "0/output.log").mkdir()
    handle = local(tmp_path).start(job)
    assert exit_status(handle) == 1
    assert handle.reason.startswith("IsADirectoryError")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "slum"}, r"launcher\.executor=slum"),
        ({"executor": "local", "partition": "long"}, r"launcher\.partition needs SLURM"),
        ({"setup": ["module load cuda"]}, r"launcher\.setup needs SLURM"),
        ({"executor": "slurm"}, r"launcher\.executor=slurm: this machine has no srun"),
        ({"timeout_min": 0}, r"launcher\.timeout_min=0"),
    ],
)
def test_a_wrong_option_is_an_error(tmp_path, options, message, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=message):
        SubmititLauncher(fake_run.train, 2, 1, tmp_path, **options)


def test_an_unknown_option_of_slurm_is_an_error(tmp_path, slurm):
    with pytest.raises(UserError, match=r"launcher\.slurm: .*acount"):
        SubmititLauncher(fake_run.train, 2, 1, tmp_path, slurm={"acount": "biology"})


def test_without_the_package_a_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'partoken\[submitit\]'"):
        local(tmp_path)


def test_slurm_runs_a_job_with_the_options_of_the_launcher(tmp_path, slurm):
    options = {"partition": "long", "cpus_per_task": 4, "timeout_min": 90, "slurm": {"account": "biology"}}
    launcher = SubmititLauncher(fake_run.train, 2, 3, tmp_path, setup=["export LOADED=1"], **options)
    assert exit_status(launcher.start(task(tmp_path / "0"))) == 0
    batch = (slurm / "batch").read_text()
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)", batch, re.MULTILINE))
    assert (asked["partition"], asked["cpus-per-task"], asked["time"], asked["account"]) == (
        "long",
        "4",
        "90",
        "biology",
    )
    assert "gpus-per-node" not in asked
    assert "export LOADED=1" in batch
    assert "threads 3 " in (tmp_path / "0/output.log").read_text()


def test_a_sweep_that_is_started_again_finds_its_slurm_jobs(tmp_path, slurm):
    (slurm / "hold").touch()
    SubmititLauncher(fake_run.train, 2, 1, tmp_path).start(task(tmp_path / "0"))
    handle = SubmititLauncher(fake_run.train, 2, 1, tmp_path).find(tmp_path / "0")
    assert handle.poll() is None
    subprocess.run(
        ["bash", slurm / "batch"],
        env={**os.environ, "SLURM_JOB_ID": handle._job.job_id},
        check=True,
        capture_output=True,
    )
    assert exit_status(handle) == 0
    assert SubmititLauncher(fake_run.train, 2, 1, tmp_path).find(tmp_path / "0") is None
    assert SubmititLauncher(fake_run.train, 2, 1, tmp_path).find(tmp_path / "1") is None


@pytest.mark.parametrize(
    ("state", "code"),
    [("NODE_FAIL", -signal.SIGKILL), ("TIMEOUT", -signal.SIGKILL), ("CANCELLED by 7", -signal.SIGKILL), ("FAILED", 1)],
)
def test_a_slurm_job_without_a_result_has_the_state_as_its_reason(tmp_path, slurm, state, code):
    (slurm / "hold").touch()
    handle = SubmititLauncher(fake_run.train, 2, 1, tmp_path).start(task(tmp_path / "0"))
    (slurm / "state").write_text("RUNNING")
    assert handle.poll() is None
    (slurm / "state").write_text(state)
    assert exit_status(handle) == code
    assert f"ended as {state}; see" in handle.reason


def test_a_slurm_job_that_waits_is_cancelled_with_the_sweep(tmp_path, slurm):
    (slurm / "hold").touch()
    handle = SubmititLauncher(fake_run.train, 2, 1, tmp_path).start(task(tmp_path / "0"))
    handle.terminate()
    assert exit_status(handle) == -signal.SIGKILL
