"""Reads the jobs of a sweep from their folders, at any moment; imports no torch."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import yaml  # type: ignore[import-untyped]

from partoken.errors import UserError
from partoken.sweep.record import FILE, read_content
from partoken.system.run_status import read_status
from partoken.system.tables import read_table
from partoken.training.objective import metric_of

__all__ = ["JobResult", "SweepResults", "read_results"]

DEPTH = 3
"""Levels of sub-folders in which run folders are looked for if there is no `sweep.json`."""
NO_RESULT = ("waiting", "running", "interrupted")
"""States of a job whose `summary.json` can only be of an earlier run."""
WORST = ("diverged", "failed")
"""States that count as worse than any value."""


@dataclass(frozen=True)
class JobResult:
    """A job of a sweep, as its folder shows it now."""

    number: int
    folder: Path
    """The run folder, which may not exist."""
    config: Mapping[str, Any]
    """The groups of its configuration, plain."""
    overrides: tuple[str, ...]
    """The overrides of this job."""
    state: str
    """waiting, running, finished, failed, diverged, pruned or interrupted."""
    reason: str | None = None
    """Of a failure, or what is wrong with the folder."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """The content of `summary.json`; empty if the job has no result."""

    @cached_property
    def epochs(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`, finite numbers only."""
        return list(_numbers(self.folder / "metrics.csv"))

    @cached_property
    def rates(self) -> list[tuple[int, float]]:
        """Optimizer step and learning rate of the first parameter group, from `lr.csv`."""
        rows = _numbers(self.folder / "lr.csv")
        return [(int(row["step"]), row["lr"]) for row in rows if row.get("group") == 0 and {"step", "lr"} <= row.keys()]

    @property
    def is_worst(self) -> bool:
        """True if the job counts as worse than any other: it diverged or failed."""
        return self.state in WORST

    @property
    def tests(self) -> dict[str, float]:
        """Finite test metrics by name, such as `test_accuracy`, and of a fork its `fork_steps` beyond the trunk and
        what they gained, such as `gained_val_loss`; none if the job counts as worst."""
        found, fork = self.summary.get("test"), self.summary.get("fork")
        if self.is_worst or not isinstance(found, Mapping):
            return {}
        of_fork = {}
        if isinstance(fork, Mapping):
            of_fork = {"fork_steps": fork["steps"], f"gained_{fork['monitor']['name']}": fork["gained"]}
        tests = {f"test_{name}": float(value) for name, value in found.items() if _is_number(value)}
        return {name: value for name, value in of_fork.items() if _is_number(value)} | tests

    def value(self, metric: str, direction: str) -> float | None:
        """Returns a metric of the job; None if it has none, diverged or failed.

        Arguments:
            metric: see `metric_of`; of a run without a result, a column of `metrics.csv` at its best epoch so far.
            direction: `max` or `min`.
        """
        if self.is_worst:
            return None
        if self.summary:
            return metric_of(self.summary, self.epochs, metric)
        row = self._best_row(metric, direction)
        return None if row is None else row.get(metric)

    def best_epoch(self, metric: str, direction: str) -> int | None:
        """Returns the tested epoch, or the best one so far, counted from 0 as in `summary.json`."""
        if self.is_worst:
            return None
        tested = self.summary.get("best_epoch")
        if _is_number(tested):
            return int(tested)
        row = self._best_row(metric, direction)
        return int(row["epoch"]) if row is not None and "epoch" in row else None

    def _best_row(self, metric: str, direction: str) -> Mapping[str, float] | None:
        """Returns the row of the best epoch so far in `metrics.csv`, of a run without a result."""
        train = self.config.get("train")
        settings = train if isinstance(train, Mapping) else {}
        monitored = settings.get("monitor"), settings.get("monitor_mode")
        for name, mode in (monitored, (metric, direction)):
            rows = [row for row in self.epochs if name in row]
            if rows:
                best = max if mode == "max" else min
                return best(rows, key=lambda row: row[str(name)])
        return None

    @property
    def seconds(self) -> float | None:
        """Time of the run; None if it has no result."""
        seconds = self.summary.get("seconds")
        return float(seconds) if _is_number(seconds) else None


@dataclass(frozen=True)
class SweepResults:
    """The jobs in a folder, and by which metric they are compared."""

    jobs: list[JobResult]
    metric: str
    direction: str


def read_results(folder: Path) -> SweepResults:
    """Returns the jobs of a sweep.

    Without `sweep.json` the jobs are the run folders below the folder, and the metric is the one that most of them
    monitor.

    Arguments:
        folder: of a sweep, or any folder with run folders.

    Raises:
        UserError: the folder does not exist or has no jobs, or `sweep.json` cannot be used.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of a sweep, such as multirun/DAY/TIME")
    if (folder / FILE).exists():
        return _read_listed(folder)
    if _is_run(folder):
        raise UserError(f"{folder} is the folder of a single run; give the folder of a sweep, which has one per job")
    found = sorted(_run_folders(folder, DEPTH), key=lambda path: _natural(path.relative_to(folder)))
    if not found:
        raise UserError(f"{folder} has neither sweep.json nor run folders; give the folder of a sweep")
    are_numbered = all(path.parent == folder and path.name.isdecimal() for path in found)
    numbers = [int(path.name) if are_numbered else i for i, path in enumerate(found)]
    jobs = [_read_unlisted(path, number) for path, number in zip(found, numbers, strict=True)]
    return SweepResults(jobs, *_usual_monitor(jobs))


def _read_listed(folder: Path) -> SweepResults:
    """Reads the jobs that `sweep.json` lists."""
    content = read_content(folder)
    jobs = [
        _read(folder / job["folder"], job["number"], job["config"], job["overrides"], job.get("error"))
        for job in content["jobs"]
    ]
    if not jobs:
        raise UserError(f"{folder / FILE} lists no jobs; give the folder of a sweep that has begun")
    metric, direction = content.get("metric"), content.get("direction")
    if metric is None:
        return SweepResults(jobs, *_usual_monitor(jobs))
    if direction not in ("max", "min"):
        raise UserError(f"{folder / FILE} has direction {direction!r}: must be max or min")
    return SweepResults(jobs, str(metric), direction)


def _read_unlisted(folder: Path, number: int) -> JobResult:
    """Reads a run folder with the configuration that Hydra wrote into it, where references stay as written."""
    config, overrides = _read_yaml(folder / ".hydra/config.yaml"), _read_yaml(folder / ".hydra/overrides.yaml")
    return _read(
        folder,
        number,
        config if isinstance(config, dict) else {},
        overrides if isinstance(overrides, list) else [],
    )


def _read(
    folder: Path, number: int, config: Mapping[str, Any], overrides: Iterable[Any], error: str | None = None
) -> JobResult:
    status = read_status(folder)
    state, reason = str(status.status), status.reason
    summary: dict[str, Any] = {}
    problem = None
    is_older = state == "waiting" and folder.is_dir()  # runs of older versions have no status
    if is_older or state not in NO_RESULT:
        summary, problem = _read_summary(folder / "summary.json")
    if is_older:
        state, reason = _state_of_older(summary)
    reasons = [str(text) for text in (reason or error, problem) if text]
    return JobResult(
        number=number,
        folder=folder,
        config=config,
        overrides=tuple(map(str, overrides)),
        state=state,
        reason="; ".join(reasons) or None,
        summary=summary,
    )


def _read_summary(path: Path) -> tuple[dict[str, Any], str | None]:
    """Returns the content of `summary.json`, or nothing and what is wrong with the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError) as error:
        return {}, f"summary.json cannot be read: {error}"
    return (content, None) if isinstance(content, dict) else ({}, "summary.json is not an object")


def _state_of_older(summary: Mapping[str, Any]) -> tuple[str, str | None]:
    """Returns the state of a run without `status.json`, and a reason."""
    if not summary:
        return "interrupted", "it has no summary.json"
    tests = summary.get("test")
    if isinstance(tests, Mapping) and "loss" in tests and not _is_number(tests["loss"]):
        return "diverged", "its test loss is not a finite number"
    return "finished", None


def _read_yaml(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(path.read_text(encoding="utf-8"), loader)
    except (OSError, ValueError, yaml.YAMLError):
        return None  # a run that was killed while it started


def _numbers(path: Path) -> Iterator[dict[str, float]]:
    """Yields the finite numbers of each row of a table; a missing table has no rows."""
    try:
        rows = read_table(path)
    except (OSError, ValueError, csv.Error):
        return
    for row in rows:
        yield {name: number for name, text in row.items() if (number := _parse(text)) is not None}


def _parse(text: object) -> float | None:
    try:
        number = float(str(text))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (".hydra/config.yaml", "summary.json", "status.json"))


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    for path in folder.iterdir():
        if not path.is_dir() or path.name.startswith("."):
            continue
        if _is_run(path):
            yield path
        elif depth > 1:
            yield from _run_folders(path, depth - 1)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Returns a key that puts 2 before 10.

    >>> _natural(Path("multirun/10")) > _natural(Path("multirun/2"))
    True
    """
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in path.parts]


def _usual_monitor(jobs: Iterable[JobResult]) -> tuple[str, str]:
    """Returns name and direction of the metric that most jobs monitor."""
    counts: dict[tuple[str, str], int] = {}
    for job in jobs:
        train = job.config.get("train")
        settings = train if isinstance(train, Mapping) else {}
        monitor = job.summary.get("monitor")
        name = monitor.get("name") if isinstance(monitor, Mapping) else settings.get("monitor")
        direction = settings.get("monitor_mode")
        pair = (str(name or "val_loss"), direction if direction in ("max", "min") else "min")
        counts[pair] = counts.get(pair, 0) + 1
    return max(counts, key=lambda pair: counts[pair])
