"""Numbers in text columns of fixed width, many at once.

The first axis of an array of text is the column, so that each step handles one column of all numbers.
"""

import math
import re

import numpy as np

__all__ = ["MAX_WIDTH", "decimals", "integers"]

MAX_WIDTH = 16
"""Columns of a number, at most: more digits would not fit into float64 exactly."""

_ZERO, _POINT, _BLANK, _MINUS = np.frombuffer(b"0. -", dtype=np.uint8)
_POWERS = 10 ** np.arange(MAX_WIDTH + 1)

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
    values = digits / _POWERS[places]  # both are exact, so the quotient is rounded once
    for place in [] if is_number.all() else zip(*np.nonzero(~is_number), strict=True):
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
        The signed digits without the point, int64 [...]; the number of digits after the point, [...] or [1] if it is
        the same everywhere; and where the text has this form, bool [...].
    """
    text = np.ascontiguousarray(text)
    digit = text - _ZERO  # wraps around for smaller codes
    is_digit, is_point, is_blank, is_minus = digit <= 9, text == _POINT, text == _BLANK, text == _MINUS
    is_lead = is_blank | is_minus
    has_form = (is_digit | is_point | is_lead).all(0) & is_digit.any(0)
    has_form &= (is_blank[:-1] >= is_lead[1:]).all(0)  # only blanks stand before a blank or a minus

    value = _joined(digit * is_digit)
    places = np.zeros(1, dtype=np.uint8)
    if is_point.any():
        num_points = is_point.sum(0, dtype=np.uint8)
        has_form &= num_points <= 1
        places = _places(is_point, has_form)
        # So far the point is a digit 0. Without it, the digits before the point move one place.
        before = value // _POWERS[places + 1] * (num_points == 1)
        value -= before * (9 * _POWERS[places])
    return np.where(is_minus.any(0), -value, value), places, has_form


def _places(is_point: np.ndarray, has_form: np.ndarray) -> np.ndarray:
    """Returns the number of columns after the points, uint8 [...] or [1] if it is the same everywhere."""
    after = np.arange(len(is_point), dtype=np.uint8)[::-1].reshape(-1, *[1] * has_form.ndim)
    places = (is_point * after).sum(0, dtype=np.uint8) * has_form
    return places.flat[:1] if (places == places.flat[0]).all() else places  # division by one number is faster


def _joined(digits: np.ndarray) -> np.ndarray:
    """Returns the numbers with the digits uint8 [digits, ...], int64 [...]: pairs become digits of a larger base."""
    base = 10
    for wider in (np.uint8, np.uint16, np.uint32, np.int64):
        if len(digits) % 2:
            digits = np.concatenate([np.zeros_like(digits[:1]), digits])
        digits = np.multiply(digits[::2], base, dtype=wider) + digits[1::2]
        if len(digits) == 1:
            break
        base *= base
    return digits[0].astype(np.int64)


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
