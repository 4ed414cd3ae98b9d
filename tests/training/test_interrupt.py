"""SIGINT ends a run as carefully as SIGTERM, with the exit status of a shell."""

import os
import signal

import pytest

from partoken.cli import _run, train
from partoken.system.checkpoint import read_checkpoint
from partoken.system.run_status import read_status
from partoken.training.engine import carry_out
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_the_run_after_its_batch_and_names_the_checkpoint(number, tmp_path, caplog):
    with pytest.raises(SystemExit) as ended:
        carry_out(settings(), tmp_path, callbacks=[At(1, lambda: os.kill(os.getpid(), number))])
    last = tmp_path / "checkpoints/last.ckpt"
    assert ended.value.code == 128 + number
    assert f"stopped by {number.name}; continue with train.resume_from={last}" in caplog.text
    assert (read_status(tmp_path).status, read_status(tmp_path).reason) == ("interrupted", f"ended by {number.name}")
    assert read_checkpoint(last)["epoch"] == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


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
