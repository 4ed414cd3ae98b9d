"""The table of a sweep for the terminal, at most 100 columns wide; imports no torch."""

import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from partoken.sweep.keys import SEED, brief, short_names
from partoken.sweep.table import Statistic, SweepTable

__all__ = ["format_sweep", "plain_number", "plain_time"]

WIDTH = 100
"""Columns of the terminal."""
MAX_JOBS = 40
"""Number of jobs up to which all of them are listed."""
NUM_BEST = 20
"""Number of jobs that are listed if there are more."""
MAX_REASONS = 10
MAX_CELL = 18
"""Characters after which a value is cut off."""
GAP = "  "


@dataclass(frozen=True)
class Column:
    """A column of a table for the terminal."""

    name: str
    cells: Sequence[str]
    is_optional: bool = False
    """True: left out if the table is too wide."""

    @property
    def header(self) -> list[str]:
        """The name, broken at `_`, `.` and spaces into lines that are hardly longer than the cells."""
        longest = max(map(len, self.cells), default=0)
        lines = [""]
        for part in re.findall(r"[^_. ]+[_. ]?", self.name):
            if lines[-1] and len(lines[-1] + part.rstrip()) > max(longest, 8):
                lines.append("")
            lines[-1] += part
        return [line.rstrip() for line in lines]

    @property
    def width(self) -> int:
        """Characters of the longest line."""
        return max(map(len, [*self.header, *self.cells]))


def format_sweep(table: SweepTable) -> list[str]:
    """Returns the jobs and groups of a sweep as lines, best first; `*` marks the best.

    Arguments:
        table: of the sweep.
    """
    lines = [*_wrap(f"{printable(str(table.folder))}: {counted(table)}"), "", *_job_lines(table)]
    lines += _reasons(table)
    if len(table.groups) < len(table.jobs):
        lines += ["", f"grouped over {SEED}, mean ± standard deviation", *_group_lines(table)]
    if table.best_group is not None:
        lines += _wrap(table.verdict)
    shares = [f"{item.key} {item.share:.0%}" for item in table.importance if item.share is not None]
    if shares:
        lines += _wrap(f"share of the variance of {table.metric}: {', '.join(shares)}")
    followers = [f"{', '.join(others)} with {key}" for key, others in table.keys.followers.items()]
    if followers:
        lines += _wrap(f"not shown, because they change together with another key: {'; '.join(followers)}")
    return ["".join(char if char.isprintable() else " " for char in line) for line in lines]


def counted(table: SweepTable) -> str:
    """Returns the number of jobs in each state, and the metric."""
    states = Counter(table.jobs[i].state for i in table.ranking)
    listed = ", ".join(f"{count} {state}" for state, count in states.items())
    word = "job" if len(table.jobs) == 1 else "jobs"
    better = "higher" if table.direction == "max" else "lower"
    worst = "; diverged and failed jobs count as worst" if any(job.is_worst for job in table.jobs) else ""
    return f"{len(table.jobs)} {word} ({listed}), best by {table.metric} ({better} is better){worst}"


def plain_number(value: float | None) -> str:
    """Returns a number with three decimals, or three digits if it is very small or large; "-" for none.

    >>> [plain_number(value) for value in (0.91237, 2.5e-5, 1234567.0, 72, None)]
    ['0.912', '2.50e-05', '1.23e+06', '72', '-']
    """
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3f}"
    return f"{value:.2e}"


def plain_time(seconds: float | None) -> str:
    """Returns a time as seconds, or as hours, minutes and seconds.

    >>> [plain_time(seconds) for seconds in (4.51, 83.2, 3725.0, None)]
    ['4.5 s', '1:23', '1:02:05', '-']
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def printable(text: str) -> str:
    """Returns a text on one line without control characters, which could change a terminal.

    >>> printable("two\\nlines \\x1b[31m")
    'two lines [31m'
    """
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _job_lines(table: SweepTable) -> list[str]:
    places = table.ranking if len(table.jobs) <= MAX_JOBS else table.ranking[:NUM_BEST]
    jobs, names = [table.jobs[i] for i in places], short_names(table.keys.main)
    epochs = [(job.best_epoch(table.metric, table.direction), job.summary.get("epochs")) for job in jobs]
    columns = [
        Column("", ["*" if i == table.best_job else "" for i in places]),
        Column("job", [str(job.number) for job in jobs]),
        *(Column(names[key], [_cell(table.keys.values[i][key]) for i in places]) for key in table.keys.main),
        Column("state", [job.state for job in jobs]),
        Column(table.metric, [plain_number(table.values[i]) for i in places]),
        Column("best epoch", ["-" if best is None else f"{best + 1}/{total or '?'}" for best, total in epochs]),
        *(Column(name, [plain_number(job.tests.get(name)) for job in jobs], True) for name in table.tests),
        Column("time", [plain_time(job.seconds) for job in jobs]),
    ]
    lines = _layout(columns)
    if len(places) < len(table.jobs):
        lines.append(f"and {len(table.jobs) - len(places)} more jobs, in sweep.csv")
    return lines


def _group_lines(table: SweepTable) -> list[str]:
    groups = table.groups if len(table.groups) <= MAX_JOBS else table.groups[:NUM_BEST]
    keys = [key for key in table.keys.main if key != SEED]
    names = short_names(table.keys.main)
    metrics = [table.metric, *table.tests]
    columns = [
        Column("", ["*" if group is table.best_group else "" for group in groups]),
        *(Column(names[key], [_cell(group.values[key]) for group in groups]) for key in keys),
        Column("runs", [str(group.states["finished"]) for group in groups]),
        *(Column(name, [spread(g.statistics.get(name)) for g in groups], name != table.metric) for name in metrics),
    ]
    if table.has_remarks:
        columns.append(Column("not in the means", [group.remark for group in groups]))
    lines = _layout(columns)
    if len(groups) < len(table.groups):
        lines.append(f"and {len(table.groups) - len(groups)} more groups, in sweep_groups.csv")
    return lines


def spread(own: Statistic | None) -> str:
    """Returns mean and standard deviation.

    >>> spread(Statistic(0.5, 0.25, 3)), spread(Statistic(0.5, None, 1))
    ('0.500 ± 0.250', '0.500')
    """
    if own is None:
        return "-"
    return plain_number(own.mean) + ("" if own.deviation is None else f" ± {plain_number(own.deviation)}")


def _reasons(table: SweepTable) -> list[str]:
    """Returns why jobs failed, one line each."""
    jobs = [job for job in table.jobs if job.reason and job.state != "pruned"]
    lines = [f"job {job.number} {job.state}: {printable(job.reason or '')}" for job in jobs[:MAX_REASONS]]
    if len(jobs) > MAX_REASONS:
        lines.append(f"and {len(jobs) - MAX_REASONS} more reasons, in sweep.csv")
    return [line for text in lines for line in _wrap(text)]


def _cell(value: object) -> str:
    text = printable(brief(value))
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _layout(columns: Sequence[Column]) -> list[str]:
    """Returns the lines of a table; optional columns are left out from the right, then others, if it is too wide."""
    kept = list(columns)
    while _total(kept) > WIDTH and len(kept) > 2:
        optional = [column for column in kept if column.is_optional]
        kept.remove(optional[-1] if optional else kept[-1])
    height = max(len(column.header) for column in kept)
    headers = [[""] * (height - len(column.header)) + column.header for column in kept]
    rows = [*zip(*headers, strict=True), *zip(*(column.cells for column in kept), strict=True)]
    aligned = [
        GAP.join(f"{text:{_side(column)}{column.width}}" for text, column in zip(row, kept, strict=True))
        for row in rows
    ]
    lines = [line.rstrip() for line in aligned]
    left_out = [column.name for column in columns if column not in kept]
    return lines + (_wrap(f"too wide for the terminal, in the files only: {', '.join(left_out)}") if left_out else [])


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)


def _side(column: Column) -> str:
    """Returns the alignment of a column: numbers at the right."""
    are_numbers = all(re.match(r"[-\d]", cell) for cell in column.cells)
    return ">" if are_numbers else "<"
