"""A file lock makes other processes wait, and a kill releases it."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

import partoken
from partoken.system.locks import file_lock

HOLD_UNTIL_KILLED = """
import sys, time
from partoken.system.locks import file_lock
with file_lock(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def held_by_another_process(path):
    environment = {**os.environ, "PYTHONPATH": str(Path(partoken.__file__).parents[1])}
    command = [sys.executable, "-c", HOLD_UNTIL_KILLED, str(path)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def is_locked(path):
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_the_file_is_locked_during_the_block_and_free_afterwards(tmp_path):
    with file_lock(tmp_path / "lock"):
        assert is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")


def test_an_error_in_the_block_releases_the_lock(tmp_path):
    with pytest.raises(RuntimeError), file_lock(tmp_path / "lock"):
        raise RuntimeError
    assert not is_locked(tmp_path / "lock")


def test_a_kill_releases_the_lock(tmp_path):
    with held_by_another_process(tmp_path / "lock") as process:
        assert is_locked(tmp_path / "lock")
        process.kill()
        with file_lock(tmp_path / "lock"):
            assert process.wait(timeout=60) != 0


def test_a_file_system_without_locks_runs_the_block_anyway(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    ran = False
    with file_lock(tmp_path / "lock"):
        ran = True
    assert ran


def test_a_lock_file_in_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(OSError, match="missing"), file_lock(tmp_path / "missing/lock"):
        pass
