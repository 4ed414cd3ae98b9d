"""Tables of checks: means over chains, or over runs, with their spread."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

__all__ = ["CheckTable", "Measured", "Row", "format_table", "spread", "tabulate"]

Measured = Mapping[str, Mapping[str, Sequence[float]]]
"""Values of one run: by row, by column, one for each chain."""
Row = Sequence[str | int]

_WIDTH = 120
"""Characters in a line of text."""


@dataclass(frozen=True)
class CheckTable:
    """A table for a person."""

    title: str
    text: str
    """What was measured, and on which chains."""
    columns: Sequence[str]
    rows: Sequence[Row]

    def plain(self) -> dict[str, Any]:
        """Returns the table as plain values, as `explain.json` and the report have it."""
        return {
            "title": self.title,
            "text": self.text,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
        }


def tabulate(title: str, text: str, first: str, runs: Sequence[Measured]) -> CheckTable:
    """Makes a table with the mean and the spread of each measure.

    Arguments:
        title: Of the table.
        text: What was measured.
        first: Head of the first column, which names the rows.
        runs: Values of one run or of several. The first run decides which rows and columns there are.

    Example:
        >>> table = tabulate("t", "", "line", [{"a": {"x": [0.0, 1.0]}, "b": {"x": [1.0, 1.0, 1.0]}}])
        >>> table.columns, table.rows
        (['line', 'chains', 'x'], [['a', 2, '0.500 +- 0.500'], ['b', 3, '1.000 +- 0.000']])
    """
    columns = list(dict.fromkeys(column for values in runs[0].values() for column in values))
    rows: list[Row] = []
    for row, values in runs[0].items():
        count = max((len(of_column) for of_column in values.values()), default=0)
        cells = [spread([run.get(row, {}).get(column, []) for run in runs]) for column in columns]
        rows.append([row, count, *cells])
    return CheckTable(title, text, [first, "chains", *columns], rows)


def spread(runs: Sequence[Sequence[float]]) -> str:
    """Writes a mean: of one run with its standard error over chains, of several with the deviation over the runs.

    >>> spread([[0.0, 1.0, 1.0, 0.0]]), spread([[0.5], [0.25, 0.75], [0.8]]), spread([[]])
    ('0.500 +- 0.289', '0.600 +- 0.173', '-')
    """
    known = [run for run in runs if run]
    if not known:
        return "-"
    if len(known) == 1:
        values = known[0]
        if len(values) == 1:
            return f"{values[0]:.3f}"
        return f"{fmean(values):.3f} +- {stdev(values) / math.sqrt(len(values)):.3f}"
    means = [fmean(run) for run in known]
    return f"{fmean(means):.3f} +- {stdev(means):.3f}"


def format_table(table: CheckTable) -> list[str]:
    """Returns the lines of a table for a terminal."""
    cells = [list(map(str, row)) for row in (table.columns, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [table.title, *textwrap.wrap(table.text, _WIDTH)]
    for row in cells:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(["", row[0].ljust(widths[0]), *numbers]))
    return lines
