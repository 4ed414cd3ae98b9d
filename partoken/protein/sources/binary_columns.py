"""Columns of BinaryCIF: their encodings, and their values as text of a fixed width. NumPy does the work.

Encodings are applied one after another when a column is written, so they are undone in reverse.

References:
    The encodings, https://github.com/molstar/BinaryCIF/blob/master/encoding.md
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gemmi
import numpy as np

__all__ = ["column_text", "decode"]

TYPES = {1: "<i1", 2: "<i2", 3: "<i4", 4: "<u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}
"""NumPy types by their number in a file."""
MASKS = {1: ord("."), 2: ord("?")}
"""What mmCIF writes for a value that does not apply and for one that is not known, by its number in a mask."""

Encoding = Mapping[str, Any]


def column_text(column: Mapping[str, Any], rows: int, max_width: int) -> np.ndarray:
    """Returns the values of a column as mmCIF text.

    Arguments:
        column: a column of the file.
        rows: n, the number of its values.
        max_width: largest width of the text of a value.

    Returns:
        uint8 [n, width]: ASCII characters, filled with spaces.

    Raises:
        ValueError, KeyError, TypeError, IndexError: the column is damaged or has another number of values.
    """
    data, encodings = column["data"]["data"], column["data"]["encoding"]
    kind = encodings[0]["kind"]
    if kind == "StringArray":
        text = _strings(data, encodings[0], rows, max_width)
    elif kind == "FixedPoint" and (decimals := _decimals(encodings[0]["factor"])) is not None:
        text = _digits(decode(data, encodings[1:], rows), decimals)
    else:
        text = _numbers(decode(data, encodings, rows))
    if len(text) != rows:
        raise ValueError(f"{column['name']} has {len(text)} values, expected {rows}")
    if column.get("mask"):
        mask = decode(column["mask"]["data"], column["mask"]["encoding"], rows)
        for number, character in MASKS.items():
            text[mask == number] = ord(" ")
            text[mask == number, 0] = character
    return text


def decode(data: Any, encodings: Sequence[Encoding], limit: int) -> np.ndarray:
    """Returns the numbers of an encoded array, [n].

    Arguments:
        data: the bytes in the file.
        encodings: the encodings, in the order in which they were applied.
        limit: largest number of values.

    Raises:
        ValueError, KeyError, TypeError: the data is damaged, or has more values.

    >>> packed = {"kind": "IntegerPacking", "byteCount": 1, "isUnsigned": False, "srcSize": 3}
    >>> delta = {"kind": "Delta", "origin": 5, "srcType": 3}
    >>> decode(bytes([0, 127, 3, 255]), [delta, packed, {"kind": "ByteArray", "type": 1}], 3).tolist()
    [5, 135, 134]
    """
    for encoding in reversed(encodings):
        data = _DECODERS[encoding["kind"]](data, encoding, limit)
    if not isinstance(data, np.ndarray) or data.ndim != 1:
        raise ValueError("a column without numbers")
    return data


def _bytes(data: bytes, encoding: Encoding, limit: int) -> np.ndarray:
    return np.frombuffer(data, dtype=TYPES[encoding["type"]])


def _fixed_point(data: np.ndarray, encoding: Encoding, limit: int) -> np.ndarray:
    return data / float(encoding["factor"])


def _quantized(data: np.ndarray, encoding: Encoding, limit: int) -> np.ndarray:
    step = (encoding["max"] - encoding["min"]) / (encoding["numSteps"] - 1)
    return encoding["min"] + data * step


def _run_length(data: np.ndarray, encoding: Encoding, limit: int) -> np.ndarray:
    values, lengths = data[::2], data[1::2].astype(np.int64)
    if (lengths < 0).any() or lengths.sum() > limit:
        raise ValueError(f"runs of {lengths.sum()} values, expected {limit}")
    return np.repeat(values, lengths)


def _delta(data: np.ndarray, encoding: Encoding, limit: int) -> np.ndarray:
    return np.cumsum(data, dtype=np.int64) + int(encoding["origin"])


def _packed_integers(data: np.ndarray, encoding: Encoding, limit: int) -> np.ndarray:
    """Adds up the small integers that make one large integer: all but its last are the extremes of their type."""
    bits = 8 * int(encoding["byteCount"])
    if encoding["isUnsigned"]:
        goes_on = data == (1 << bits) - 1
    else:
        goes_on = (data == (1 << (bits - 1)) - 1) | (data == -(1 << (bits - 1)))
    if not goes_on.any():
        return data
    if goes_on[-1]:
        raise ValueError("a packed integer without an end")
    sums = np.cumsum(data, dtype=np.int64)[~goes_on]
    return np.diff(sums, prepend=0)


_DECODERS: dict[str, Callable[[Any, Encoding, int], np.ndarray]] = {
    "ByteArray": _bytes,
    "FixedPoint": _fixed_point,
    "IntervalQuantization": _quantized,
    "RunLength": _run_length,
    "Delta": _delta,
    "IntegerPacking": _packed_integers,
}


def _decimals(factor: float) -> int | None:
    """Returns the decimal places of fixed-point numbers; None if their factor is no power of ten."""
    return next((places for places in range(10) if factor == 10**places), None)


def _strings(data: Any, encoding: Encoding, rows: int, max_width: int) -> np.ndarray:
    """Returns the text of a column of strings, uint8 [n, width]: each different string is stored once."""
    joined = encoding["stringData"]
    offsets = decode(encoding["offsets"], encoding["offsetEncoding"], len(joined) + 2).tolist()
    indices = decode(data, encoding["dataEncoding"], rows)
    different = [joined[start:stop] for start, stop in itertools.pairwise(offsets)] or [""]
    tokens = [gemmi.cif.quote(string).encode("ascii", "replace") for string in different]
    if len(indices) and (indices.min() < -1 or indices.max() >= len(tokens)):  # -1: a masked value
        raise ValueError("a string that is not there")
    if max(map(len, tokens)) > max_width:
        raise ValueError("strings that are too long")
    return _characters(np.array(tokens)[indices])


def _numbers(values: np.ndarray) -> np.ndarray:
    """Writes numbers, [n], with all their digits, as text, uint8 [n, width]."""
    if values.dtype.kind in "iu":
        return _digits(values, 0)
    # Coordinates have three decimal places. NumPy takes ten times as long for any number.
    with np.errstate(invalid="ignore"):
        thousandths = np.rint(values.astype(np.float64) * 1000)
        is_short = (np.abs(thousandths) < 1e15) & ((thousandths / 1000).astype(values.dtype) == values)
    return _digits(thousandths, 3) if is_short.all() else _characters(values.astype("S32"))


def _digits(values: np.ndarray, decimals: int) -> np.ndarray:
    """Writes integers, [n], in units of the last of some decimal places, as text, uint8 [n, width].

    >>> [row.tobytes().decode() for row in _digits(np.array([-5, 12345]), 3)]
    [' -0.005', ' 12.345']
    """
    left = np.abs(values.astype(np.int64))
    width = max(len(str(left.max(initial=0))), decimals + 1)
    text = np.full((len(left), width + 1), ord(" "), dtype=np.uint8)
    first = np.full(len(left), width)  # place of the first digit
    for place in range(width, 0, -1):
        is_written = (left > 0) | (place >= width - decimals)
        text[:, place] = np.where(is_written, left % 10 + ord("0"), ord(" "))
        first[is_written] = place
        left //= 10
    is_negative = values < 0
    text[is_negative, first[is_negative] - 1] = ord("-")
    if decimals == 0:
        return text
    point = np.full((len(text), 1), ord("."), dtype=np.uint8)
    return np.concatenate([text[:, :-decimals], point, text[:, -decimals:]], axis=1)


def _characters(strings: np.ndarray) -> np.ndarray:
    """Returns strings, bytes [n], as characters, uint8 [n, width], filled with spaces."""
    text = np.ascontiguousarray(strings).view(np.uint8).reshape(len(strings), -1)
    return np.where(text == 0, np.uint8(ord(" ")), text)
