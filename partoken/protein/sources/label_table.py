"""Label tables: CSV files that a user brings, written by any program."""

import csv
import os

from partoken.errors import UserError
from partoken.system.user_files import open_regular

__all__ = ["read_label_table"]


def read_label_table(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Reads a table with a header line, separated by commas, tabs or semicolons.

    A byte order mark, empty lines, Windows line ends and spaces around cells are accepted. Tables that partoken writes
    are read with the stricter `partoken.system.tables.read_table`.

    Arguments:
        path: the file, UTF-8.

    Returns:
        One dictionary per row, from column to cell; a missing cell is empty.

    Raises:
        UserError: the file is missing, empty, not text, or no regular file.
    """
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty: expected a header line, such as id,label, and one line per chain")
    delimiter = max(",\t;", key=lines[0].count)
    rows = csv.DictReader(lines, delimiter=delimiter, restval="", skipinitialspace=True)
    return [_stripped(row) for row in rows]


def _stripped(row: dict[str | None, str]) -> dict[str, str]:
    """Returns a row without spaces around its cells and without cells beyond the header."""
    return {str(k).strip(): str(v).strip() for k, v in row.items() if k is not None}
