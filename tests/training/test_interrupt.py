"""SIGINT ends a run as carefully as SIGTERM, with the exit status of a shell."""

import os
import signal

import pytest
import pytorch_lightning as pl

from partoken.cli import _run, train
from partoken.system.checkpoint import read_checkpoint
from partoken.system.run_status import read_status
from partoken.training.engine import carry_out
from partoken.training.interrupt import requeue
from tests.training.runs import settings
from tests.training.test_endings import At


@pytest.fixture(autouse=True)
def own_logging(monkeypatch):
    monkeypatch.setattr("hydra.core.utils.configure_log", lambda *_: None)


@pytest.fixture(autouse=True)
def heard():
    """Restores SIGINT, which a shell lets its commands in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


EXITS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


@pytest.mark.parametrize("number", EXITS, ids=lambda number: number.name)
def test_a_signal_ends_the_run_after_its_batch_and_says_how_to_go_on(number, tmp_path, caplog):
    with pytest.raises(SystemExit) as ended:
        carry_out(settings(), tmp_path, callbacks=[At(1, lambda: os.kill(os.getpid(), number))])
    assert ended.value.code == EXITS[number]
    line = f"stopped by {number.name}; go on with the same keys and resume=latest hydra.run.dir={tmp_path}"
    assert line in caplog.text
    assert read_status(tmp_path).status == "interrupted"
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 8  # 7 in the first epoch
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


class InTest(pl.Callback):
    """Calls a function at the start of the test."""

    def __init__(self, act):
        self.act = act

    def on_test_start(self, trainer, module):
        self.act()


def test_a_signal_ends_a_test(tmp_path):
    with pytest.raises(SystemExit) as ended:
        carry_out(settings(), tmp_path, callbacks=[InTest(lambda: os.kill(os.getpid(), signal.SIGTERM))])
    assert ended.value.code == 143
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize("resume", ["auto", None])
def test_slurm_starts_a_run_again_that_goes_on_by_itself(resume, tmp_path, caplog, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho $* > {tmp_path}/asked")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(SystemExit), caplog.at_level("INFO"):
        stop = At(1, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        carry_out({**settings(), "resume": resume}, tmp_path, callbacks=[stop])
    asked = tmp_path / "asked"
    if resume is None:
        assert not asked.exists()
        assert "only with resume=auto" in caplog.text
    else:
        assert asked.read_text() == "requeue 7\n"
        assert "SLURM starts job 7 again" in caplog.text


def test_a_job_that_slurm_does_not_know_is_named(caplog, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    requeue({"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2"})
    assert "did not put job 5_2 back into its queue (scontrol: No such file or directory)" in caplog.text


def test_a_second_interrupt_ends_the_run_at_once(tmp_path, caplog):
    def interrupt_twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit) as ended:
        carry_out(settings(), tmp_path, callbacks=[At(0, interrupt_twice)])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning ignores further ones
    assert ended.value.code == 130
    assert "stopped by SIGINT; no checkpoint was written yet" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, "exit of Lightning"], ids=str)
def test_an_interrupt_outside_the_training_is_one_line(error, tmp_path, monkeypatch, capsys):
    def stop(cfg):
        if error is KeyboardInterrupt:
            raise error
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904  # as Lightning does

    monkeypatch.setattr("partoken.cli._job", stop)
    assert train([f"hydra.run.dir={tmp_path}"]) == 130
    assert capsys.readouterr().err == "stopped by SIGINT\n"


def test_an_interrupt_of_a_command_that_does_not_train_is_one_line(capsys):
    class Options:
        def run(self, options):
            raise KeyboardInterrupt

    options = Options()
    assert _run(type("Parsed", (), {"run": options.run})) == 130
    assert capsys.readouterr().err == "stopped by SIGINT\n"
