"""Writes files completely or not at all."""

import contextlib
import glob
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = ["atomic_write", "delete_partial", "write_json"]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path` and renames it to `path` when the block ends without an error.

    After a kill at any moment `path` is the old file or the new one, never a part of either. The next write to the
    same path deletes `.partial` files left by a killed one, so only one process may write to a path at a time.

    Arguments:
        path: the final name; its folder exists.
        mode: "w" (UTF-8, newlines as written) or "wb".

    Raises:
        OSError: the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder, "a.txt")) as file:
    ...         _ = file.write("complete")
    ...     Path(folder, "a.txt").read_text()
    'complete'
    """
    path = Path(path)
    delete_partial(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    is_text = "b" not in mode
    encoding, newline = ("utf-8", "") if is_text else (None, None)
    try:
        with open(partial, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def delete_partial(path: Path) -> None:
    """Deletes the temporary files that killed writers of `path` left.

    Arguments:
        path: the final name of the file.
    """
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        partial.unlink(missing_ok=True)


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
