"""The table of atoms in an mmCIF text: where its values stand, and what they are.

Nearly all programs write one atom per line. Such a table is divided by its blanks, which is several times faster than a
grammar of CIF. Every other form is left to gemmi.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import gemmi
import numpy as np

from partoken.protein.sources.atoms import UnusableFile, number_names, number_runs
from partoken.protein.sources.fixed_width import MAX_WIDTH, decimals

__all__ = ["NULL", "PREFIX", "Table", "TextTable", "read_table"]

PREFIX = "_atom_site."
NULL = ("", ".", "?")
"""Values that mean that there is none."""

CHUNK = 1 << 24
"""Bytes that are divided at once."""
PADDING = 16
"""Blanks in front of and behind the lines of a table, so that every value has neighbours."""

_MASKS = np.array([(1 << 8 * length) - 1 for length in range(9)], dtype=np.uint64)
"""Keep the first characters of eight, by their number."""
_BLANK = np.uint8(ord(" "))
_ENDS = (b"\n_", b"\nloop_", b"\ndata_")


class Table(Protocol):
    """Columns of `_atom_site` with n rows. `in` says whether there is a column."""

    def __len__(self) -> int: ...

    def __contains__(self, column: object, /) -> bool: ...

    def only(self, which: np.ndarray) -> "Table":
        """Returns some of the rows, chosen by bool [n]."""

    def names(self, column: str) -> tuple[np.ndarray, list[str]]:
        """Numbers the values, int [n], and returns the distinct ones; `.` and `?` become empty."""

    def is_given(self, column: str) -> np.ndarray:
        """Returns which rows have a value, bool [n]."""

    def decimals(self, *columns: str) -> np.ndarray:
        """Returns the numbers in k columns, float64 [n, k]; NaN where there is none."""


class TextTable:
    """A table in columns of text, quoted as in CIF or not.

    Arguments:
        columns: the columns by name, all of one length.
    """

    def __init__(self, columns: Mapping[str, Sequence[str]]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def only(self, which: np.ndarray) -> "TextTable":
        rows = np.flatnonzero(which).tolist()
        return TextTable({name: [values[row] for row in rows] for name, values in self._columns.items()})

    def names(self, column: str) -> tuple[np.ndarray, list[str]]:
        return _plain(*number_names(self._columns[column]))

    def is_given(self, column: str) -> np.ndarray:
        return np.array([value not in NULL for value in self._columns[column]], dtype=bool)

    def decimals(self, *columns: str) -> np.ndarray:
        values = [[_decimal(value) for value in self._columns[column]] for column in columns]
        return np.array(values, dtype=np.float64).T


class _TokenTable:
    """A table by the places of its values in a text.

    Arguments:
        text: ASCII codes, uint8.
        starts: int [n, columns]: the first character of each value.
        lengths: int [n, columns].
        columns: positions of the columns by name.
    """

    def __init__(self, text: bytes, starts: np.ndarray, lengths: np.ndarray, columns: Mapping[str, int]) -> None:
        self._text, self._starts, self._lengths, self._columns = text, starts, lengths, columns

    def __len__(self) -> int:
        return len(self._starts)

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def only(self, which: np.ndarray) -> "_TokenTable":
        return _TokenTable(self._text, self._starts[which], self._lengths[which], self._columns)

    def names(self, column: str) -> tuple[np.ndarray, list[str]]:
        starts, lengths = self._column(column)
        if not len(starts) or lengths.max() > 8:
            return _plain(*number_names(self._texts(starts, lengths)))
        words = np.ndarray((len(self._text) - 7,), dtype="<u8", buffer=self._text, strides=(1,))
        numbers, distinct = number_runs(words[starts] & _MASKS[lengths])
        return _plain(numbers, [int(code).to_bytes(8, "little").rstrip(b"\0").decode() for code in distinct])

    def is_given(self, column: str) -> np.ndarray:
        starts, lengths = self._column(column)
        first = np.frombuffer(self._text, dtype=np.uint8)[starts]
        return (lengths > 1) | ((first != ord(".")) & (first != ord("?")))

    def decimals(self, *columns: str) -> np.ndarray:
        starts, lengths = (np.stack(part, 1) for part in zip(*map(self._column, columns), strict=True))
        width = min(int(lengths.max(initial=1)), MAX_WIDTH)
        text = np.frombuffer(self._text, dtype=np.uint8)
        before_end = np.arange(width, 0, -1)[:, None, None]
        windows = text[starts + lengths - before_end]
        values = decimals(np.where(before_end <= lengths, windows, _BLANK))
        # No number, or one with quotes, an uncertainty, or more digits than the window.
        for place in zip(*np.nonzero(np.isnan(values) | (lengths > width)), strict=True):
            values[place] = _decimal(self._text[starts[place] : starts[place] + lengths[place]].decode())
        return values

    def _column(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        position = self._columns[column]
        return self._starts[:, position].astype(np.int64), self._lengths[:, position].astype(np.int64)

    def _texts(self, starts: np.ndarray, lengths: np.ndarray) -> Iterator[str]:
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            yield self._text[start : start + length].decode()


def read_table(content: bytes, columns: Sequence[str]) -> tuple[Table, int]:
    """Finds the first table of atoms in an mmCIF text.

    Arguments:
        content: ASCII text.
        columns: names of the columns that are needed; a missing one is left out.

    Returns:
        The table, and the number of further tables of atoms.

    Raises:
        UnusableFile: the text is not CIF, or has no table of atoms with coordinates.
    """
    table = _lines_table(content, columns)
    if table is not None:
        return table, 0
    try:
        blocks = [block for block in gemmi.cif.read_string(content) if block.find_values(f"{PREFIX}Cartn_x")]
    except (RuntimeError, ValueError, IndexError, OverflowError) as error:  # from gemmi's C++
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UnusableFile(f"not readable as mmCIF: {lines[0][:200]}") from None
    if not blocks:
        raise UnusableFile("no atom records with coordinates in the mmCIF file")
    found = {name: list(blocks[0].find_values(PREFIX + name)) for name in columns}
    return TextTable({name: values for name, values in found.items() if values}), len(blocks) - 1


def _lines_table(content: bytes, columns: Sequence[str]) -> _TokenTable | None:
    """Finds the table of atoms in a text if it is the only one and has one atom per line; None for another form."""
    tag = b"\n" + PREFIX.encode()
    start = content.find(tag)
    is_loop = content[max(start - 80, 0) : max(start, 0)].rstrip().endswith(b"loop_")
    if not is_loop or content.count(b"\n;", 0, start) % 2:  # an odd number: in a text of several lines
        return None
    tags = []
    while content.startswith(tag, start):
        end = content.find(b"\n", start + 1)
        tags.append(content[start + len(tag) : end if end > 0 else len(content)].strip().decode())
        start = end
    if "Cartn_x" not in tags or start < 0 or content.find(tag, start) >= 0:
        return None
    stops = [stop for stop in (content.find(mark, start) for mark in _ENDS) if stop >= 0]
    rows = _without_last_comments(content[start : min(stops, default=len(content))])
    if not rows:
        return None
    text = b" " * PADDING + rows + b"\n" + b" " * PADDING
    used = {name: position for position, name in enumerate(tags) if name in columns}
    parts = []
    for begin, end in _chunks(text):
        part = _divided(text, begin, end, len(tags), list(used.values()))
        if part is None:
            return None
        parts.append(part)
    starts, lengths = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _TokenTable(text, starts, lengths, {name: place for place, name in enumerate(used)})


def _without_last_comments(rows: bytes) -> bytes:
    """Removes the lines with `#` that end a table in the files of the archive."""
    rows = rows.rstrip()
    while rows.startswith(b"#", rows.rfind(b"\n") + 1):
        rows = rows[: rows.rfind(b"\n") + 1].rstrip()
    return rows


def _chunks(text: bytes) -> Iterator[tuple[int, int]]:
    """Yields the limits of parts of about `CHUNK` bytes, each before and after a line end."""
    start = PADDING
    while start < len(text) - PADDING - 1:
        end = text.find(b"\n", min(start + CHUNK, len(text) - PADDING - 1))
        yield start, end
        start = end


def _divided(text: bytes, begin: int, end: int, width: int, used: list[int]) -> tuple[np.ndarray, np.ndarray] | None:
    """Divides lines with one row each into values.

    Arguments:
        text: the lines.
        begin: a line end.
        end: a later line end.
        width: number of values of a row.
        used: positions of the columns to return.

    Returns:
        First character and length of each value, uint32 [rows, columns]; None if a row is not just one line, or if a
        value is more than its characters between blanks, such as a quoted one that contains a blank.
    """
    codes = np.frombuffer(text, dtype=np.uint8)[begin : end + 1]
    limits = np.flatnonzero(np.diff(codes > _BLANK)) + 1
    starts, ends = limits[::2], limits[1::2]
    if len(starts) % width:
        return None
    begins_line = (codes[starts - 1] == ord("\n")).reshape(-1, width)
    if not begins_line[:, 0].all() or begins_line[:, 1:].any():
        return None
    first, last = codes[starts], codes[ends - 1]
    is_quoted = (first == ord("'")) | (first == ord('"'))
    is_whole = (first == last) & (ends - starts > 1)
    if (is_quoted & ~is_whole).any() or (first == ord("#")).any() or (first[::width] == ord(";")).any():
        return None
    starts, ends = (limit.reshape(-1, width)[:, used] for limit in (starts, ends))
    return (starts + begin).astype(np.uint32), (ends - starts).astype(np.uint32)


def _plain(numbers: np.ndarray, raw: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Takes the quotes from distinct names, and merges names that are then equal."""
    plain, distinct = number_names("" if name in NULL else gemmi.cif.as_string(name) for name in raw)
    return plain[numbers] if len(raw) else numbers, distinct


def _decimal(text: str) -> float:
    """Returns a number that may have quotes, or its uncertainty in brackets; NaN for none."""
    try:
        return float(gemmi.cif.as_string(text).partition("(")[0])
    except ValueError:
        return float("nan")
