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
    text = np.ascontiguousarray(text)
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
    text = np.ascontiguousarray(text)
    values, _, is_number = _right_aligned(text)
    is_number[(text == _POINT).nonzero()[1]] = False
    for row in (~is_number).nonzero()[0]:
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
    digit = text - _ZERO  # wraps around for smaller codes
    is_digit, is_point, is_blank, is_minus = digit <= 9, text == _POINT, text == _BLANK, text == _MINUS
    is_lead = is_blank | is_minus
    has_form = (is_digit | is_point | is_lead).all(0) & is_digit.any(0)
    has_form &= (is_blank[:-1] >= is_lead[1:]).all(0)  # only blanks stand before a blank or a minus

    value, places, num_points = _without_points(digit * is_digit, is_point)
    return np.where(is_minus.any(0), -value, value), places, has_form & (num_points <= 1)


def _without_points(digits: np.ndarray, is_point: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Takes the points out of numbers.

    Arguments:
        digits: uint8 [width, ...]; a point is a digit 0. They may be changed.
        is_point: bool [width, ...].

    Returns:
        The numbers, int64 [...]; the digits that each had after its point; and its points. Both counts are [...], or
        [1] if they are the same everywhere.
    """
    if not is_point.any():
        return _joined(digits), np.zeros(1, dtype=np.uint8), np.zeros(1, dtype=np.uint8)
    # Programs write all numbers of a column with the same digits after the point: then no number has to be divided.
    column = int(is_point.reshape(len(is_point), -1)[:, 0].argmax())
    if is_point[column].all() and np.count_nonzero(is_point) == is_point[column].size:
        digits[1 : column + 1] = digits[:column]
        digits[0] = 0
        return _joined(digits), np.array([len(digits) - 1 - column]), np.ones(1, dtype=np.uint8)
    after = np.arange(len(digits), dtype=np.uint8)[::-1].reshape(-1, *[1] * (digits.ndim - 1))
    num_points = is_point.sum(0, dtype=np.uint8)
    places = (is_point * after).sum(0, dtype=np.uint8) * (num_points == 1)
    # Without the point, the digits before it move one place.
    value = _joined(digits)
    before = value // _POWERS[places + 1] * (num_points == 1)
    return value - before * (9 * _POWERS[places]), places, num_points


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
