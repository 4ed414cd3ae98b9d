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

CHUNK = 1 << 20
"""Bytes that are divided at once."""
MANY = 1 << 16
"""Rows above which columns are read one by one: it takes less memory, but more steps."""
PADDING = 16
"""Blanks in front of and behind the lines of a table, so that every value has neighbours."""

_MASKS = np.array([(1 << 8 * length) - 1 for length in range(9)], dtype=np.uint64)
"""Keep the first characters of eight, by their number."""
_BLANK, _NEWLINE = np.frombuffer(b" \n", dtype=np.uint8)
_MARKS = (b"'", b'"', b"#")
"""Characters with a meaning in CIF."""
_ENDS = (b"\n", b"\nloop", b"\ndata")
"""Begins of lines that end a table, before their first underscore."""


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
        text: ASCII text; `PADDING` characters stand before the first value and behind the last one.
        limits: the first character of each value and the one behind its last, uint32 [rows, values, 2].
        columns: positions of the columns among the values, by name.
        chosen: positions of the rows of this table, int [n]; None: all.
    """

    def __init__(
        self, text: bytes, limits: np.ndarray, columns: Mapping[str, int], chosen: np.ndarray | None = None
    ) -> None:
        self._text, self._limits, self._columns, self._chosen = text, limits, columns, chosen

    def __len__(self) -> int:
        return len(self._limits if self._chosen is None else self._chosen)

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def only(self, which: np.ndarray) -> "_TokenTable":
        chosen = which.nonzero()[0] if self._chosen is None else self._chosen[which]
        return _TokenTable(self._text, self._limits, self._columns, chosen)

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
        if len(self) > MANY and len(columns) > 1:
            return np.concatenate([self.decimals(column) for column in columns], 1)
        starts, lengths = (np.concatenate(part) for part in zip(*map(self._column, columns), strict=True))
        width = min(int(lengths.max(initial=1)), MAX_WIDTH)
        windows = np.ndarray((len(self._text) - width + 1,), dtype=f"V{width}", buffer=self._text, strides=(1,))
        text = np.ascontiguousarray(windows[starts + lengths - width].view(np.uint8).reshape(-1, width).T)
        is_own = np.arange(width, 0, -1, dtype=np.uint8)[:, None] <= np.minimum(lengths, width).astype(np.uint8)
        values = decimals(text * is_own + ~is_own * _BLANK)
        # No number, or one with quotes, an uncertainty, or more digits than the window.
        for place in (np.isnan(values) | (lengths > width)).nonzero()[0]:
            values[place] = _decimal(self._text[starts[place] : starts[place] + lengths[place]].decode())
        return values.reshape(len(columns), -1).T

    def _column(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first characters and the lengths of the values in a column, int [n] each."""
        starts, ends = self._limits[:, self._columns[column]].T
        if self._chosen is not None:
            starts, ends = starts[self._chosen], ends[self._chosen]
        return starts.astype(np.int64), (ends - starts).astype(np.int64)

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
    if "Cartn_x" not in tags or start < 0:
        return None
    end = _end_of_rows(content, start)
    text = _padded(_without_last_comments(content[start:end]))
    if text.isspace() or content.find(tag, end) >= 0:
        return None
    parts = []
    for begin, end in _chunks(text):
        part = _divided(text, begin, end, len(tags))
        if part is None:
            return None
        parts.append(part)
    limits = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return _TokenTable(text, limits, {name: position for position, name in enumerate(tags) if name in columns})


def _end_of_rows(content: bytes, start: int) -> int:
    """Returns the end of the line before the next tag, table or data block; all of them have an underscore."""
    place = content.find(b"_", start)
    while place >= 0:
        for mark in _ENDS:
            if content.endswith(mark, start, place):
                return place - len(mark)
        place = content.find(b"_", place + 1)
    return len(content)


def _without_last_comments(rows: bytes) -> bytes:
    """Removes the lines with `#` that end a table in the files of the archive."""
    rows = rows.rstrip()
    while rows.startswith(b"#", rows.rfind(b"\n") + 1):
        rows = rows[: rows.rfind(b"\n") + 1].rstrip()
    return rows


def _padded(rows: bytes) -> bytes:
    return b" " * PADDING + rows + b"\n" + b" " * PADDING


def _chunks(text: bytes) -> Iterator[tuple[int, int]]:
    """Yields the limits of parts of about `CHUNK` bytes, each before and after a line end."""
    start = PADDING
    while start < len(text) - PADDING - 1:
        end = text.find(b"\n", min(start + CHUNK, len(text) - PADDING - 1))
        yield start, end
        start = end


def _divided(text: bytes, begin: int, end: int, width: int) -> np.ndarray | None:
    """Divides lines with one row each into values.

    Arguments:
        text: the lines.
        begin: a line end.
        end: a later line end.
        width: number of values of a row.

    Returns:
        The first character of each value and the one behind its last, uint32 [rows, width, 2]; None if a row is not
        just one line, or if a value is more than its characters between blanks, such as a quoted one with a blank.
    """
    codes = np.frombuffer(text, dtype=np.uint8)[begin : end + 1]
    is_text = codes > _BLANK
    changes = (is_text[1:] != is_text[:-1]).nonzero()[0].astype(np.uint32)
    if len(changes) % (2 * width):
        return None
    limits = changes.reshape(-1, width, 2)
    limits += 1
    rows = limits[:, 0, 0]
    num_lines = np.count_nonzero((codes[:-1] == _NEWLINE) & is_text[1:])
    if num_lines != len(rows) or (codes[rows - 1] != _NEWLINE).any() or (codes[rows] == ord(";")).any():
        return None
    if any(text.find(mark, begin, end) >= 0 for mark in _MARKS):
        first, last = codes[limits[:, :, 0]], codes[limits[:, :, 1] - 1]
        is_quoted = (first == ord("'")) | (first == ord('"'))
        is_whole = (first == last) & (limits[:, :, 1] - limits[:, :, 0] > 1)
        if (is_quoted & ~is_whole).any() or (first == ord("#")).any():
            return None
    limits += begin
    return limits


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
