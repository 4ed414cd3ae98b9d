"""Each misuse of the table ends in one message that names the fault, with exit status 2 and without a result."""

import logging
import os
import signal
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

from partoken.cli import main
from tests.commands import ROOT
from tests.misuse.files import write_files
from tests.misuse.table import IN_PROCESSES, TINY, read_table, run_here, run_process, words_of

TABLE = list(read_table())


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


@pytest.fixture(scope="module")
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


@pytest.mark.filterwarnings("default")  # a warning before the message is no second fault
@pytest.mark.parametrize("misuse", TABLE, ids=[misuse.name for misuse in TABLE])
def test_a_misuse_ends_in_one_message(misuse, places, tmp_path, capfd):
    words = words_of(misuse.command, {**places, "DIR": tmp_path})
    if misuse.topic == IN_PROCESSES:
        status, said = run_process(words)
    else:
        status = run_here(main, words)
        said = "".join(capfd.readouterr())
    assert status == 2, said
    assert "Traceback" not in said
    assert misuse.needle.lower() in said.lower()
    assert not (tmp_path / "harm").exists(), "it ran a command of the configuration"
    assert not list(tmp_path.rglob("summary.json")), "it left a result"


def test_every_misuse_is_in_the_table_once():
    assert len({misuse.name for misuse in TABLE}) == len(TABLE)
