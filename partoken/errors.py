"""Exceptions for user errors, as opposed to bugs, checks of single settings that raise them, and their printing."""

import difflib
import math
import sys
from collections.abc import Iterable, Sequence
from numbers import Integral, Real

__all__ = [
    "NothingToDo",
    "UserError",
    "check_choice",
    "check_flag",
    "check_number",
    "check_text",
    "did_you_mean",
    "print_error",
]


LARGEST = 2**31 - 1
"""Largest whole number of a setting: every library takes it as a seed, a count and a size."""


class UserError(ValueError):
    """The user gave something that cannot be used.

    The message names the key or file, what was found, what is allowed, and the fix. The commands print it without a
    traceback and exit with status 2.
    """


class NothingToDo(Exception):
    """What the user asked for is done already: a command prints the message and exits with status 0."""


def print_error(error: UserError | OSError) -> int:
    """Prints a user error, or a file that cannot be used, as one line, and returns the exit status of the command, 2.

    Raises:
        OSError: the error itself, if it names no file and so is no mistake of the user.
    """
    if isinstance(error, OSError):
        if error.filename is None:
            raise error
        message = f"{error.filename}: {error.strerror}"
    else:
        message = str(error)
    print(f"error: {message}", file=sys.stderr)
    return 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean ...?" with the known name closest to `name`, or "" if none is close.

    >>> did_you_mean("train.epoch", ["train.epochs", "train.lr"])
    ' Did you mean train.epochs?'
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""


def check_number(
    key: str,
    value: object,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    whole: bool = False,
    optional: bool = False,
) -> None:
    """Checks that a setting is a finite number within limits.

    Arguments:
        key: name of the setting, for the message.
        value: what was found.
        minimum, above: lower limit, included or excluded.
        maximum, below: upper limit, included or excluded.
        whole: only whole numbers are allowed.
        optional: None is allowed.

    Raises:
        UserError: naming the key, the value and what is allowed.

    >>> check_number("train.lr", -1, above=0)
    Traceback (most recent call last):
    partoken.errors.UserError: train.lr=-1: must be a number above 0
    """
    if value is None and optional:
        return
    if whole and isinstance(value, Integral) and int(value) > LARGEST:
        raise UserError(f"{key}={value!r}: must be a whole number of at most {LARGEST}")
    if isinstance(value, Integral if whole else Real) and not isinstance(value, bool):
        number = float(value)
        is_high_enough = (minimum is None or number >= minimum) and (above is None or number > above)
        is_low_enough = (maximum is None or number <= maximum) and (below is None or number < below)
        if math.isfinite(number) and is_high_enough and is_low_enough:
            return
    low = f"above {above:g}" if above is not None else f"of {minimum:g} or more" if minimum is not None else ""
    high = f"below {below:g}" if below is not None else f"at most {maximum:g}" if maximum is not None else ""
    limits = " and ".join(filter(None, [low, high]))
    kind = "a whole number" if whole else "a number"
    allowed = f"{kind} {limits}".rstrip() + (", or null" if optional else "")
    raise UserError(f"{key}={value!r}: must be {allowed}")


def check_choice(key: str, value: object, choices: Sequence[str], *, optional: bool = False) -> None:
    """Checks that a setting is one of a few words.

    Raises:
        UserError: naming the key, the value, the choices and the closest one.

    >>> check_choice("train.optimizer", "adamm", ["adam", "sgd"])
    Traceback (most recent call last):
    partoken.errors.UserError: train.optimizer=adamm: choose adam or sgd. Did you mean adam?
    """
    if (value is None and optional) or (isinstance(value, str) and value in choices):
        return
    words = [*choices, "null"] if optional else list(choices)
    listed = f"{', '.join(words[:-1])} or {words[-1]}"
    raise UserError(f"{key}={value}: choose {listed}.{did_you_mean(str(value), choices)}")


def check_flag(key: str, value: object) -> None:
    """Checks that a setting is true or false.

    Raises:
        UserError: naming the key and the value.
    """
    if not isinstance(value, bool):
        raise UserError(f"{key}={value!r}: must be true or false")


def check_text(key: str, value: object, *, optional: bool = False) -> None:
    """Checks that a setting is a text that is not empty.

    Raises:
        UserError: naming the key and the value.
    """
    if not (value is None and optional) and not (isinstance(value, str) and value):
        raise UserError(f"{key}={value!r}: must be a text{', or null' if optional else ''}")
