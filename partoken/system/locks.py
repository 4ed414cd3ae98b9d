"""Locks between processes."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

__all__ = ["file_lock"]


@contextlib.contextmanager
def file_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds an exclusive lock on a file during the block; other processes wait for it.

    The system releases the lock if the process is killed. If the file system has no locks, the block runs without one.

    Arguments:
        path: the lock file; it is created if missing and never deleted.

    Raises:
        OSError: the lock file cannot be created.
    """
    with open(path, "a") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
