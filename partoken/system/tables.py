"""CSV tables of a run folder."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from partoken.system.files import atomic_write

__all__ = ["read_table", "write_table"]


def read_table(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Returns the rows of a CSV file with a header, one dictionary per row. All values are strings.

    Arguments:
        path: a UTF-8 file, such as a run's `metrics.csv`.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)
