"""Writes files completely or not at all."""

import contextlib
import errno
import glob
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from partoken.errors import UserError

__all__ = ["atomic_path", "atomic_write", "copy_file", "delete_all_partial", "delete_partial", "explain_full_disk"]
__all__ += ["link_or_copy", "sync_folder", "write_json"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk without space, of a quota, and of a limit on the size of files."""


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path` and renames it to `path` when the block ends without an error.

    After a kill at any moment `path` is the old file or the new one, never a part of either. The next write to the
    same path deletes `.partial` files left by a killed one, so only one process may write to a path at a time.

    Arguments:
        path: the final name; its folder exists.
        mode: "w" (UTF-8, newlines as written, escapes for bytes that are not UTF-8) or "wb".

    Raises:
        UserError: no space is left on the disk.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder, "a.txt")) as file:
    ...         _ = file.write("complete")
    ...     Path(folder, "a.txt").read_text()
    'complete'
    """
    is_text = "b" not in mode
    # A file name that is not UTF-8 must not lose the whole table.
    encoding, errors, newline = ("utf-8", "backslashreplace", "") if is_text else (None, None, None)
    buffer = -1 if is_text else 1 << 22  # torch writes a checkpoint in many small parts
    options: dict[str, Any] = {"encoding": encoding, "errors": errors, "newline": newline, "buffering": buffer}
    with atomic_path(path) as partial, open(partial, mode, **options) as file:
        yield file


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary name beside `path`, for a library that opens its files itself; otherwise as `atomic_write`.

    Arguments:
        path: the final name; its folder exists.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    delete_partial(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with explain_full_disk(path):
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def explain_full_disk(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns the errors of a full disk in the block into one message; other errors pass.

    Arguments:
        path: the file that the block writes, for the message.

    Raises:
        UserError: no space is left on the disk.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch raises an error of its own, while it handles that of the file
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError) or cause.errno not in FULL:
            raise
        raise UserError(
            f"no space left on the disk of {cause.filename or path} ({cause.strerror}): free some space, or choose a "
            "folder on another disk, and start again; the files that were written before are whole"
        ) from error


def delete_partial(path: Path) -> None:
    """Deletes the temporary files that killed writers of `path` left.

    Arguments:
        path: the final name of the file.
    """
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        partial.unlink(missing_ok=True)


def delete_all_partial(folder: Path) -> None:
    """Deletes the temporary files that killed writers left in a folder, which only this process writes to.

    Arguments:
        folder: it and its folder `checkpoints` are searched.
    """
    for place in (folder, folder / "checkpoints"):
        for partial in [*place.glob(".*.partial"), *place.glob("*/.*.partial")]:
            partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Writes the names in a folder to the disk, so that a file renamed before is still there after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes plain values as indented JSON, completely or not at all.

    Arguments:
        path: the file; its folder exists.
        content: nested dictionaries, lists, strings, numbers, booleans and None.

    Raises:
        OSError: the file cannot be written.
        TypeError: a value is of another type.
        ValueError: a number is NaN or infinite; JSON has neither.
    """
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2, allow_nan=False) + "\n")


def copy_file(source: Path, path: Path) -> None:
    """Copies a file so that `path` is at any moment the old file or the whole new one.

    Arguments:
        source: the file.
        path: the final name; its folder exists.

    Raises:
        UserError: no space is left on the disk.
        OSError: the file cannot be read or written.
    """
    with open(source, "rb") as content, atomic_write(path, "wb") as file:
        shutil.copyfileobj(content, file)


def link_or_copy(source: Path, path: Path) -> None:
    """Makes `path` the same file as `source`, or a copy where the file system has no hard links.

    It is meant for files that are only ever replaced as a whole, such as checkpoints.

    Arguments:
        source: the file.
        path: the second name; its folder exists, and a file that has the name is replaced.

    Raises:
        OSError: the file cannot be read or written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        os.link(source, partial)
    except OSError:
        copy_file(source, path)
        return
    os.replace(partial, path)
    partial.unlink(missing_ok=True)  # it is still there if `path` was the same file before
