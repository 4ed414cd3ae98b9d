"""Exceptions for user errors, as opposed to bugs."""

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "did_you_mean"]


class UserError(ValueError):
    """The user gave something that cannot be used.

    The message names the key or file, what was found, what is allowed, and the fix. The commands print it without a
    traceback and exit with status 2.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean ...?" with the known name closest to `name`, or "" if none is close.

    >>> did_you_mean("train.epoch", ["train.epochs", "train.lr"])
    ' Did you mean train.epochs?'
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""
