"""Files that are written whole or not at all."""

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
    """Opens a temporary file beside `path`, and renames it to `path` when the block ends without an error.

    After a kill at any moment `path` is the old file or the new one, never a part of it. The next write to the same
    path deletes the `.partial` file of a killed one, so only one process may write to a path at a time.

    Arguments:
        path: the final name; its folder exists.
        mode: "w" (UTF-8, newlines as written) or "wb".

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    delete_partial(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(partial, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def delete_partial(path: Path) -> None:
    """Deletes the temporary files that killed writers of `path` left."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        partial.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes plain values as indented JSON.

    Raises:
        ValueError: a NaN or an infinity, which JSON does not have.
    """
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2, allow_nan=False) + "\n")
