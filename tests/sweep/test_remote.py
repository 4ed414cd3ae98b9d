"""A job in a process that a scheduler starts: it runs once, continues, and ends when it is asked to."""

import os
import pickle
import signal
import subprocess
import threading

import pytest

from partoken.cli import train
from partoken.sweep import remote
from partoken.sweep.remote import carry_out, remote_task
from partoken.system.run_status import RunStatus, read_status, write_status
from tests.sweep import fake_run
from tests.sweep.jobs import is_alive, is_running, task, until


def sent(folder, do="finish", **options):
    return remote_task(task(folder, do), fake_run.train, threads=3, **options)


def when_running(folder, action):
    """Does something in a thread as soon as the job in a folder runs."""
    thread = threading.Thread(target=lambda: until(lambda: is_running(folder)) and action())
    thread.start()
    return thread


@pytest.mark.parametrize(("do", "code"), [("finish", 0), ("fail", 2)])
def test_a_job_returns_its_exit_status_and_keeps_what_it_prints(tmp_path, do, code):
    assert carry_out(pickle.loads(pickle.dumps(sent(tmp_path / "0", do)))) == code
    assert (tmp_path / "0/output.log").read_text().startswith(f"threads 3 arguments do={do}")


@pytest.mark.parametrize("status", ["finished", "pruned"])
def test_a_job_that_is_done_is_not_run_again_if_the_scheduler_starts_it_twice(tmp_path, status):
    job = sent(tmp_path / "0")
    write_status(tmp_path / "0", RunStatus(status=status))
    assert carry_out(job) == 0
    assert not (tmp_path / "0/starts").exists()


def test_a_job_that_the_scheduler_starts_again_continues_from_its_checkpoint(tmp_path):
    job = sent(tmp_path / "0")
    (tmp_path / "0/checkpoints").mkdir()
    (tmp_path / "0/checkpoints/last.ckpt").touch()
    (tmp_path / "0/summary.json").touch()  # the run was killed while it drew its pictures
    write_status(tmp_path / "0", RunStatus(status="interrupted"))
    assert carry_out(job) == 0
    assert not (tmp_path / "0/summary.json").exists()
    assert f"train.resume_from='{tmp_path}/0/checkpoints/last.ckpt'" in (tmp_path / "0/output.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_makes_the_job_end_in_order_also_if_it_was_ignored(tmp_path, number):
    job, before = sent(tmp_path / "0", "wait"), signal.signal(number, signal.SIG_IGN)
    try:
        thread = when_running(tmp_path / "0", lambda: os.kill(os.getpid(), number))
        assert carry_out(job, (number,)) == 128 + signal.SIGTERM
        thread.join()
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert read_status(tmp_path / "0").reason == "ended by SIGTERM"


def test_a_job_of_this_machine_ends_with_its_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "die_with_parent", lambda: None)  # it would concern the tests
    with subprocess.Popen(["sleep", "60"]) as sweep:
        monkeypatch.setattr(os, "getpid", lambda: sweep.pid)
        job = sent(tmp_path / "0", "wait", ends_with_sweep=True)
        monkeypatch.undo()
        monkeypatch.setattr(remote, "die_with_parent", lambda: None)
        thread = when_running(tmp_path / "0", sweep.kill)
        assert carry_out(job) == -signal.SIGKILL
        thread.join()
    assert not is_alive(read_status(tmp_path / "0").pid)
    assert carry_out(job) == -signal.SIGKILL, "a job does not start without its sweep"


def test_the_program_of_a_job_imports_the_command_by_the_name_of_its_module(tmp_path):
    job = remote_task(task(tmp_path / "0"), train, threads=1)
    assert "from partoken.cli import train\n" in job.words[1]
