"""Columns of a BinaryCIF table. They are decoded when they are asked for, by NumPy.

Encodings are applied one after another when a column is written, so they are undone in reverse.

References:
    The encodings, https://github.com/molstar/BinaryCIF/blob/master/encoding.md
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from partoken.protein.sources.atoms import number_names, number_runs
from partoken.protein.sources.cif_table import NULL

__all__ = ["BinaryTable", "decode"]

TYPES = {1: "<i1", 2: "<i2", 3: "<i4", 4: "<u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}
"""NumPy types by their number in a file."""

Encoding = Mapping[str, Any]


class BinaryTable:
    """A table of atoms, see `partoken.protein.sources.cif_table.Table`.

    Arguments:
        columns: the encoded columns by name, as in the file.
        rows: number of rows in the file.
        chosen: positions of the rows of this table, int [n]; None: all.
    """

    def __init__(self, columns: Mapping[str, Any], rows: int, chosen: np.ndarray | None = None) -> None:
        self._columns, self._rows, self._chosen = columns, rows, chosen

    def __len__(self) -> int:
        return self._rows if self._chosen is None else len(self._chosen)

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def only(self, which: np.ndarray) -> "BinaryTable":
        chosen = np.flatnonzero(which) if self._chosen is None else self._chosen[which]
        return BinaryTable(self._columns, self._rows, chosen)

    def names(self, column: str) -> tuple[np.ndarray, list[str]]:
        values, strings = self._values(column)
        code, distinct = (values, strings) if strings is not None else number_runs(values)
        plain, names = number_names("" if str(name) in NULL else str(name) for name in [*distinct, ""])
        numbers, used = number_runs(np.where(self._is_masked(column), plain[-1], plain[code]))
        return numbers, [names[number] for number in used]

    def is_given(self, column: str) -> np.ndarray:
        code, names = self.names(column)
        return np.array([name != "" for name in names], dtype=bool)[code]

    def decimals(self, *columns: str) -> np.ndarray:
        return np.stack([self._numbers(column) for column in columns], 1)

    def _numbers(self, column: str) -> np.ndarray:
        values, strings = self._values(column)
        if strings is not None:
            values = np.array([_decimal(string) for string in strings])[values]
        return np.where(self._is_masked(column), np.nan, values)

    def _values(self, column: str) -> tuple[np.ndarray, list[str] | None]:
        """Returns the numbers of a column; or of a column of strings the position of each value, and the strings."""
        encoded = self._columns[column]["data"]
        data, encodings = encoded["data"], encoded["encoding"]
        if encodings[0]["kind"] != "StringArray":
            return self._select(decode(data, encodings, self._rows)), None
        strings = _strings(encodings[0])
        code = self._select(decode(data, encodings[0]["dataEncoding"], self._rows))
        if len(code) and not -1 <= code.min() <= code.max() < len(strings):
            raise ValueError(f"{column} has a string that is not there")
        return code, [*strings, ""]  # the code of a masked value may be -1

    def _is_masked(self, column: str) -> np.ndarray:
        """Returns which values are `.` or `?` in the text form, bool [n]."""
        mask = self._columns[column].get("mask")
        if not mask:
            return np.zeros(len(self), dtype=bool)
        return self._select(decode(mask["data"], mask["encoding"], self._rows)) != 0

    def _select(self, values: np.ndarray) -> np.ndarray:
        if len(values) != self._rows:
            raise ValueError(f"a column has {len(values)} values, expected {self._rows}")
        return values if self._chosen is None else values[self._chosen]


def decode(data: Any, encodings: Sequence[Encoding], limit: int) -> np.ndarray:
    """Returns the numbers of an encoded array, [n].

    Arguments:
        data: the bytes in the file.
        encodings: the encodings, in the order in which they were applied.
        limit: largest number of values that a few bytes may stand for.

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


def _strings(encoding: Encoding) -> list[str]:
    """Returns the different strings of a column: each is stored once, all joined into one."""
    joined = encoding["stringData"]
    offsets = decode(encoding["offsets"], encoding["offsetEncoding"], len(joined) + 2)
    return [joined[start:stop] for start, stop in itertools.pairwise(offsets.tolist())]


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
