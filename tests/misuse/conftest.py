"""Fixtures of the tests of misuses: a finished run, files that cannot be used, and a process that stays as it was."""

import logging
import os
import signal
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

from tests.commands import ROOT
from tests.misuse.files import write_files
from tests.misuse.table import TINY, run_process


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch):
    """Restores what a command changes in its process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    environment, words = dict(os.environ), list(sys.argv)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(ROOT)
    yield
    signal.signal(signal.SIGTERM, on_sigterm)
    GlobalHydra.instance().clear()
    for handler in set(root.handlers) - set(handlers):
        handler.close()  # that of `run.log`
    root.handlers[:], root.level, sys.argv[:] = handlers, level, words
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="package")
def places(tmp_path_factory):
    """A finished run, and files that cannot be used."""
    folder = tmp_path_factory.mktemp("misuse")
    first = folder / "first"
    status, said = run_process(["train", *TINY, "train.epochs=1", f"hydra.run.dir={first}"])
    assert status == 0, said
    checkpoints = first / "checkpoints"
    write_files(folder / "files", checkpoints / "best.ckpt")
    return {
        "CKPT": checkpoints / "best.ckpt",
        "LAST": checkpoints / "last.ckpt",
        "FIRST": first,
        "FILES": folder / "files",
    }
