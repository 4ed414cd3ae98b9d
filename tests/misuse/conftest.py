"""Fixtures of the tests of misuses: finished runs, files that cannot be used, and a process that stays as it was."""

import contextlib
import logging
import os
import signal
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

from partoken.cli import main
from tests.commands import ROOT
from tests.misuse.files import write_files
from tests.misuse.table import TINY, TINY_TILES, run_here


@contextlib.contextmanager
def restored():
    """Restores what a command changes in its process, and starts it in the clone."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    environment, words = dict(os.environ), list(sys.argv)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with contextlib.chdir(ROOT):
        yield
    signal.signal(signal.SIGTERM, on_sigterm)
    GlobalHydra.instance().clear()
    for handler in set(root.handlers) - set(handlers):
        handler.close()  # that of `run.log`
    root.handlers[:], root.level, sys.argv[:] = handlers, level, words
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(autouse=True)
def undisturbed():
    """Restores what a command changes in its process."""
    with restored():
        yield


@pytest.fixture(scope="package")
def places(tmp_path_factory):
    """Two finished runs, and files that cannot be used."""
    folder = tmp_path_factory.mktemp("misuse")
    first, stage1 = folder / "first", folder / "stage1"
    for tiny, run in ((TINY, first), (TINY_TILES, stage1)):
        with restored():
            assert run_here(main, ["train", *tiny, "train.epochs=1", f"hydra.run.dir={run}"]) == 0
    checkpoints = first / "checkpoints"
    write_files(folder / "files", checkpoints / "best.ckpt")
    return {
        "CKPT": checkpoints / "best.ckpt",
        "LAST": checkpoints / "last.ckpt",
        "FIRST": first,
        "TILED": stage1,
        "FILES": folder / "files",
    }
