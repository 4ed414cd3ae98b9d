"""Files that a user names: only regular files are opened, and every name can be printed."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from partoken.errors import UserError

__all__ = ["check_current_folder", "check_output", "check_regular", "open_regular", "printable"]


def check_regular(path: str | os.PathLike[str]) -> None:
    """Checks that a path is a regular file, before a library opens it: opening a named pipe may wait for ever.

    Arguments:
        path: a file, or a link to one.

    Raises:
        OSError: there is no such file, or it is a folder, a pipe, a socket or a device.

    >>> check_regular(os.devnull)
    Traceback (most recent call last):
    OSError: [Errno 22] not a regular file: '/dev/null'
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def check_current_folder() -> None:
    """Rejects a current folder that has been deleted, because every relative path would be lost.

    Raises:
        UserError: naming the folder, where the shell has told it.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        name = os.environ.get("PWD", "the current folder")
        raise UserError(f"{name}: this folder no longer exists; change to one that does, with cd") from None


def check_output(
    option: str, path: str | os.PathLike[str], suffix: str, inputs: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Checks that a file may be written: it replaces nothing but a regular file of its own kind, and no input.

    Arguments:
        option: that named the file, for the message.
        path: the file, which may not exist.
        suffix: that a file of this kind has, such as ".csv".
        inputs: files that the command reads; others, such as folders and patterns, are passed over.

    Raises:
        UserError: naming the file and what it must be.

    >>> check_output("--out", "model.ckpt", ".csv")
    Traceback (most recent call last):
    partoken.errors.UserError: --out model.ckpt: must end in .csv, so that it replaces no file of another kind
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; name a file that ends in {suffix}")
    if path.suffix.lower() != suffix:
        raise UserError(f"{option} {path}: must end in {suffix}, so that it replaces no file of another kind")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: the folder {path.parent} does not exist; create it first")
    if path.exists() and not path.is_file():
        raise UserError(f"{option} {path}: is a device or a pipe; name a regular file")
    if path.exists() and any(os.path.isfile(file) and path.samefile(file) for file in inputs):
        raise UserError(f"{option} {path}: is a file that the command reads; name another one")


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Opens a regular file for reading.

    Arguments:
        path: a file, or a link to one.

    Raises:
        OSError: it cannot be opened, or is no regular file, see `check_regular`.
    """
    check_regular(path)
    # Without waiting, even if the file has become a pipe since the check.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def printable(name: str) -> str:
    r"""Returns a file name that every terminal and every UTF-8 file can show.

    Bytes that are not UTF-8, control characters and other invisible characters become escapes. Other names stay as they
    are.

    Arguments:
        name: a name as Python's `os` gives it; bytes that are not UTF-8 are lone surrogates.

    >>> print(printable("1abc.pdb"), printable(os.fsdecode(b"caf\xe9.pdb")), printable("line\nbreak.pdb"))
    1abc.pdb caf\xe9.pdb line\nbreak.pdb
    """
    if name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
