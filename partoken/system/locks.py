"""Locks between processes."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

__all__ = ["file_lock", "is_locked", "process_lock"]

PATIENCE = 1.0
"""Seconds for which `process_lock` tries again, because `is_locked` holds a free lock for a moment."""


@contextlib.contextmanager
def file_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds an exclusive lock on a file during the block; other processes wait for it.

    The system releases the lock if the process is killed. If the file system has no locks, the block runs without one.

    Arguments:
        path: the lock file; it is created if missing and never deleted.

    Raises:
        OSError: the lock file cannot be created.
    """
    with open(path, "a", opener=_without_waiting) as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def process_lock(path: str | os.PathLike[str]) -> Iterator[bool]:
    """Marks during the block that this process works with something; tells if another process does so already.

    The lock belongs to the process alone: processes that it starts do not hold it, so it is free as soon as the process
    has ended or was killed. Within one process it excludes nothing. On a file system without locks it is always free.

    Arguments:
        path: the lock file; it is created if missing and never deleted.

    Yields:
        False if another process holds the lock.

    Raises:
        OSError: the lock file cannot be created.
    """
    with open(path, "a", opener=_without_waiting) as lock:
        until = time.monotonic() + PATIENCE
        while not (is_ours := _try_lock(lock.fileno())) and time.monotonic() < until:
            time.sleep(0.05)
        yield is_ours


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Returns whether another process holds the `process_lock` of a file; a missing file is not locked."""
    try:
        with open(path, "r+") as lock:
            return not _try_lock(lock.fileno())
    except OSError:
        return False


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file; a named pipe of this name is an error, where it would otherwise wait for a reader."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _try_lock(descriptor: int) -> bool:
    """Takes the lock if no other process holds it; True also where the file system has no locks."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass
    return True
