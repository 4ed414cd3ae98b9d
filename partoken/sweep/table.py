"""The table of a sweep: jobs and groups, best first, and the CSV files; imports no torch."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from partoken.sweep.importance import Importance, key_importance
from partoken.sweep.keys import SEED, DifferingKeys, differing_keys, shown
from partoken.sweep.results import JobResult, read_results
from partoken.system.tables import write_table

__all__ = ["Group", "Statistic", "SweepTable", "read_sweep", "write_tables"]

ORDER = ("finished", "pruned", "running", "interrupted", "waiting")
"""States from best to worst; diverged and failed jobs come after all of them."""


@dataclass(frozen=True)
class Statistic:
    """A metric over the finished runs of a group."""

    mean: float
    deviation: float | None
    """Standard deviation with n - 1; None for a single run."""
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Statistic | None":
        """Returns the statistic of finite values; None without any.

        >>> Statistic.of([1.0, 2.0, 3.0])
        Statistic(mean=2.0, deviation=1.0, runs=3)
        """
        if not values:
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))


@dataclass(frozen=True)
class Group:
    """Jobs that differ in `train.seed` only."""

    values: Mapping[str, Any]
    """The values of the differing keys."""
    jobs: tuple[JobResult, ...]
    places: tuple[int, ...]
    """Of its jobs in the table."""
    statistics: Mapping[str, Statistic]
    """By metric, of the finished jobs."""

    @cached_property
    def states(self) -> Counter[str]:
        """Number of jobs in each state."""
        return Counter(job.state for job in self.jobs)

    @property
    def remark(self) -> str:
        """The jobs that are not part of the means, such as "1 diverged, 2 running"."""
        return ", ".join(f"{count} {state}" for state, count in self.states.items() if state != "finished")


@dataclass(frozen=True)
class SweepTable:
    """The jobs of a sweep and what they show."""

    folder: Path
    metric: str
    direction: str
    jobs: Sequence[JobResult]
    """By number."""
    keys: DifferingKeys

    @cached_property
    def values(self) -> dict[int, float | None]:
        """The metric of each job, by its place in `jobs`."""
        return {i: job.value(self.metric, self.direction) for i, job in enumerate(self.jobs)}

    @cached_property
    def tests(self) -> list[str]:
        """Names of the test metrics of all jobs, without the metric of the sweep."""
        names = dict.fromkeys(name for job in self.jobs for name in job.tests)
        return [name for name in names if name != self.metric]

    @cached_property
    def ranking(self) -> list[int]:
        """Places of the jobs, best first: finished jobs by their metric, then the others; diverged and failed last."""
        return sorted(range(len(self.jobs)), key=self._rank)

    @property
    def best_job(self) -> int | None:
        """Place of the best job; None if no job has finished with a value."""
        first = self.ranking[0]
        return first if self.jobs[first].state == "finished" and self.values[first] is not None else None

    @cached_property
    def groups(self) -> list[Group]:
        """Jobs grouped over `train.seed`, best mean first; groups with a diverged or failed job come last."""
        members: dict[tuple[str, ...], list[int]] = {}
        names = [key for key in self.keys.main if key != SEED]
        for i, values in enumerate(self.keys.values):
            # Nothing is known about a job that was killed before it wrote its configuration.
            own = [] if self.jobs[i].config or self.jobs[i].overrides else [str(i)]
            own += [f"{type(values[key])}{shown(values[key])}" for key in names]
            members.setdefault(tuple(own), []).append(i)
        seeds = {SEED, *self.keys.followers.get(SEED, [])}
        groups = [self._group(places, seeds) for places in members.values()]
        return sorted(groups, key=self._group_rank)

    @cached_property
    def has_remarks(self) -> bool:
        """True if a group has jobs that are not part of its means."""
        return any(group.remark for group in self.groups)

    @property
    def best_group(self) -> Group | None:
        """The first group; None if it has no finished job."""
        first = self.groups[0]
        return first if self.metric in first.statistics else None

    @cached_property
    def importance(self) -> list[Importance]:
        """The share of the metric's variance that each key explains, over the finished jobs."""
        places = [i for i, job in enumerate(self.jobs) if job.state == "finished" and self.values[i] is not None]
        columns = {key: [self.keys.values[i][key] for i in places] for key in self.keys.main}
        return key_importance(columns, [value for i in places if (value := self.values[i]) is not None])

    @property
    def verdict(self) -> str:
        """A sentence on whether the best group is better than the second one, beyond the spread over seeds."""
        compared = [group.statistics[self.metric] for group in self.groups[:2] if self.metric in group.statistics]
        if len(compared) < 2:
            return ""
        first, second = compared
        difference = abs(first.mean - second.mean)
        start = f"The means of the first two groups differ by {difference:.3g}"
        if first.deviation is None or second.deviation is None:
            return f"{start}. One of them has a single run, so its spread is unknown: run more values of {SEED}."
        spread = pooled_deviation(first, second)
        if difference < spread:
            return f"{start}, less than their spread over seeds ({spread:.3g}).{self._pairs()}"
        return f"{start}; their spread over seeds is {spread:.3g}.{self._pairs()}"

    def _pairs(self) -> str:
        """Returns a sentence that compares the first two groups within each seed that both have."""
        by_seed = [
            {shown(self.keys.values[i].get(SEED)): self.values[i] for i in self._finished_places(group)}
            for group in self.groups[:2]
        ]
        pairs = [(value, by_seed[1][seed]) for seed, value in by_seed[0].items() if seed in by_seed[1]]
        known = [(one, other) for one, other in pairs if one is not None and other is not None]
        if SEED not in self.keys.main or len(known) < 2:
            return ""
        wins = sum(self.better_first(one) < self.better_first(other) for one, other in known)
        return f" With the same seed, the first one is better in {wins} of {len(known)} pairs."

    def _finished_places(self, group: Group) -> list[int]:
        return [i for i in group.places if self.jobs[i].state == "finished"]

    def better_first(self, value: float) -> float:
        """Returns a number that is smaller for a better value."""
        return -value if self.direction == "max" else value

    def _rank(self, i: int) -> tuple[int, bool, float, int]:
        job, value = self.jobs[i], self.values[i]
        state = ORDER.index(job.state) if job.state in ORDER else len(ORDER)
        return state, value is None, 0.0 if value is None else self.better_first(value), job.number

    def _group(self, places: Sequence[int], seeds: Iterable[str]) -> Group:
        jobs = [self.jobs[i] for i in places]
        own = {self.metric: [self.values[i] for i in places if self.jobs[i].state == "finished"]}
        own |= {name: [job.tests.get(name) for job in jobs if job.state == "finished"] for name in self.tests}
        found = {name: Statistic.of([value for value in column if value is not None]) for name, column in own.items()}
        known = {name: item for name, item in found.items() if item is not None}
        values = {key: value for key, value in self.keys.values[places[0]].items() if key not in seeds}
        return Group(values, tuple(jobs), tuple(places), known)

    def _group_rank(self, group: Group) -> tuple[bool, bool, bool, float]:
        own = group.statistics.get(self.metric)
        is_worst = any(job.is_worst for job in group.jobs)
        return is_worst, group.states["pruned"] > 0, own is None, self.better_first(own.mean) if own else 0.0


def pooled_deviation(first: Statistic, second: Statistic) -> float:
    """Returns the standard deviation within two groups, `sqrt(((n - 1) s^2 + (m - 1) t^2) / (n + m - 2))`.

    >>> pooled_deviation(Statistic(0, 3.0, 2), Statistic(0, 4.0, 2)) == math.sqrt(12.5)
    True
    """
    squares = [(item.runs - 1) * (item.deviation or 0.0) ** 2 for item in (first, second)]
    return math.sqrt(sum(squares) / (first.runs + second.runs - 2))


def read_sweep(folder: Path) -> SweepTable:
    """Returns the table of a sweep, as its folder shows it now.

    Arguments:
        folder: of a sweep, or any folder with run folders.

    Raises:
        UserError: the folder does not exist, has no jobs, or its `sweep.json` cannot be used.
    """
    read = read_results(folder)
    jobs = sorted(read.jobs, key=lambda job: job.number)
    return SweepTable(folder, read.metric, read.direction, jobs, differing_keys(jobs))


def write_tables(table: SweepTable) -> list[Path]:
    """Writes `sweep.csv`, one row per job, and `sweep_groups.csv`, one row per group, into the sweep's folder.

    Arguments:
        table: of the sweep.

    Returns:
        The two files.

    Raises:
        OSError: a file cannot be written.
    """
    jobs, groups = table.folder / "sweep.csv", table.folder / "sweep_groups.csv"
    fields = ["job", "state", *table.keys.every, table.metric, "best_epoch", *table.tests]
    fields += ["seconds", "folder", "reason"]
    write_table(jobs, fields, [_job_row(table, i) for i in range(len(table.jobs))])
    rows = [_group_row(table, rank, group) for rank, group in enumerate(table.groups, start=1)]
    write_table(groups, list(dict.fromkeys(name for row in rows for name in row)), rows)
    return [jobs, groups]


def _job_row(table: SweepTable, i: int) -> dict[str, Any]:
    job = table.jobs[i]
    return {
        "job": job.number,
        "state": job.state,
        **{key: shown(value) for key, value in table.keys.values[i].items()},
        **job.tests,
        table.metric: table.values[i],
        "best_epoch": job.best_epoch(table.metric, table.direction),
        "seconds": job.seconds,
        "folder": _relative(job.folder, table.folder),
        "reason": job.reason,
    }


def _group_row(table: SweepTable, rank: int, group: Group) -> dict[str, Any]:
    states = ("finished", "diverged", "failed", "pruned", "running", "interrupted", "waiting")
    row: dict[str, Any] = {"rank": rank, **{key: shown(value) for key, value in group.values.items()}}
    row |= {"jobs": len(group.jobs), **{state: group.states[state] for state in states}}
    for name in (table.metric, *table.tests):
        own = group.statistics.get(name)
        row[f"{name}_mean"] = own and own.mean
        row[f"{name}_std"] = own and own.deviation
        row[f"{name}_runs"] = own.runs if own else 0
    return row | {"numbers": " ".join(str(job.number) for job in group.jobs)}


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
