"""Numbers in text columns of fixed width, many at once.

The first axis of an array of text is the column, so that each step handles one column of all numbers.
"""

import math
import re

import numpy as np

__all__ = ["MAX_WIDTH", "decimals", "integers"]

MAX_WIDTH = 16
"""Columns of a number, at most: more digits would not fit into float64 exactly."""

_HYBRID_DIGITS = re.compile(r"[A-Z][0-9A-Z]*|[a-z][0-9a-z]*")


def decimals(text: np.ndarray, *, blank: float = math.nan) -> np.ndarray:
    """Reads decimal numbers.

    Arguments:
        text: ASCII codes, uint8 [width, ...].
        blank: value of empty text.

    Returns:
        float64 [...], each the number nearest to its text; NaN where the text is no number.
    """
    digits, places, is_number = _right_aligned(text)
    values = digits / 10.0**places  # both are exact, so the quotient is rounded once
    for place in zip(*np.nonzero(~is_number), strict=True):
        values[place] = _decimal(text[(slice(None), *place)].tobytes(), blank)
    return values


def integers(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads integers, also those in hybrid-36, which goes on with letters when the digits of the columns are used up.

    Arguments:
        text: ASCII codes, uint8 [width, n].

    Returns:
        int64 [n], 0 where the text is no number; and where it is one, bool [n].

    References:
        Hybrid-36: https://cci.lbl.gov/hybrid_36/
    """
    values, _, is_number = _right_aligned(text)
    is_number &= (text != ord(".")).all(0)
    for row in np.flatnonzero(~is_number):
        value = _integer(text[:, row].tobytes().decode("latin-1"))
        values[row] = 0 if value is None else value
        is_number[row] = value is not None
    return values, is_number


def _right_aligned(text: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads text that consists of blanks, a minus sign or none, and digits with one point or none.

    Returns:
        The signed digits without the point, int64 [...]; the number of digits after the point, int64 [...]; and where
        the text has this form, bool [...].
    """
    value = np.zeros(text.shape[1:], dtype=np.int64)
    places = np.zeros_like(value)
    is_minus, has_point, has_digit = (np.zeros(text.shape[1:], dtype=bool) for _ in range(3))
    has_form = np.ones(text.shape[1:], dtype=bool)
    for column in np.ascontiguousarray(text):
        digit = column - np.uint8(ord("0"))  # wraps around for smaller codes
        is_digit, is_point = digit <= 9, column == ord(".")
        if is_digit.all():
            value *= 10
        elif is_point.all():
            has_form &= ~has_point
            has_point[:] = True
            continue
        else:
            begins = ~(has_digit | has_point | is_minus)
            minus = column == ord("-")
            has_form &= is_digit | (is_point & ~has_point) | (begins & (minus | (column == ord(" "))))
            is_minus |= minus
            digit = digit * is_digit
            value *= np.where(is_digit, 10, 1)
        value += digit
        places += is_digit & has_point
        has_point |= is_point
        has_digit |= is_digit
    return np.where(is_minus, -value, value), places, has_form & has_digit


def _decimal(text: bytes, blank: float) -> float:
    if not text.strip():
        return blank
    try:
        return float(text) if b"_" not in text else math.nan
    except ValueError:
        return math.nan


def _integer(text: str) -> int | None:
    """Returns the value of a column; None if it is no number."""
    number = text.strip()
    if re.fullmatch(r"[+-]?[0-9]+", number):
        return int(number)
    if len(number) != len(text) or not _HYBRID_DIGITS.fullmatch(number):
        return None
    width = len(number)
    offset = 16 * 36 ** (width - 1) if number[0].islower() else -10 * 36 ** (width - 1)
    return int(number, 36) + offset + 10**width
