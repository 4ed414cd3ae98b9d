"""CSV tables that people open in a spreadsheet."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from partoken.system.files import atomic_write

__all__ = ["TableWriter", "read_table", "write_table"]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Beginnings of a cell that a spreadsheet may compute, as a formula that could run a command."""


class TableWriter:
    """Writes rows to an open CSV file; a text that a spreadsheet would compute gets an apostrophe before it.

    Arguments:
        file: opened for text with `newline=""`.
    """

    def __init__(self, file: IO[str]) -> None:
        self._writer = csv.writer(file)

    def writerow(self, row: Iterable[Any]) -> None:
        """Writes a row."""
        self._writer.writerow([_guarded(cell) for cell in row])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Writes rows."""
        for row in rows:
            self.writerow(row)


def read_table(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Returns the rows of a CSV file with a header, one dictionary per row. All values are strings.

    Arguments:
        path: a UTF-8 file, such as a run's `metrics.csv`; the apostrophes of `TableWriter` are taken away.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, newline="", encoding="utf-8") as file:
        return [{_bare(key): _bare(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def write_table(
    path: str | os.PathLike[str],
    fields: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
) -> None:
    """Writes a CSV file with a header, completely or not at all.

    Arguments:
        path: the file.
        fields: the columns, in order.
        rows: one mapping per row; a missing field becomes an empty cell.

    Raises:
        OSError: the file cannot be written.
        ValueError: a row has a field that is not in `fields`.
    """
    with atomic_write(path) as file:
        writer = TableWriter(file)
        writer.writerow(fields)
        for row in rows:
            if unknown := set(row) - set(fields):
                raise ValueError(f"no column for {sorted(unknown)}")
            writer.writerow(row.get(field, "") for field in fields)


def _guarded(cell: Any) -> Any:
    """Returns a cell that no spreadsheet computes; numbers stay as they are, also as text.

    >>> [_guarded(cell) for cell in ("=1+1", "-x", "-1.5e-3", -2, "a=b", "'quoted")]
    ["'=1+1", "'-x", '-1.5e-3', -2, 'a=b', "'quoted"]
    """
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell) and not _is_number(cell) else cell


def _bare(cell: Any) -> Any:
    """Returns a cell as it was before `_guarded`; a row that is too long or too short has others than texts."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _is_formula(cell) else cell


def _is_formula(text: str) -> bool:
    """Returns whether a text begins as a formula, maybe after apostrophes of its own."""
    return text.lstrip("'").startswith(FORMULA)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
