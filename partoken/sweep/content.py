"""The content of a sweep's page as plain values, which `partoken.report.sweep` draws; imports no torch."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.sweep.importance import CONFOUNDED, Importance
from partoken.sweep.keys import SEED, brief, short_names, shown
from partoken.sweep.results import JobResult
from partoken.sweep.table import Group, SweepTable
from partoken.sweep.terminal import counted, plain_number, plain_time, spread

__all__ = ["page_content"]

MAX_CURVES = 60
"""Number of jobs whose curves are drawn, best first."""
MAX_POINTS = 120
"""Points of a curve above which it is thinned out."""


def page_content(table: SweepTable) -> dict[str, Any]:
    """Returns everything that the page of a sweep shows.

    Arguments:
        table: of the sweep.

    Returns:
        Plain values, which `partoken.report.sweep.write_page` describes.
    """
    names = short_names(table.keys.main)
    labels = _labels(table, names)
    group_of = {id(job): number for number, group in enumerate(table.groups) for job in group.jobs}
    keys = [
        {"name": key, "short": names[key], "followers": table.keys.followers.get(key, []), "is_seed": key == SEED}
        for key in table.keys.main
    ]
    return {
        "title": table.folder.resolve().name,
        "folder": str(table.folder),
        "written": datetime.datetime.now().isoformat(" ", "minutes"),
        "metric": table.metric,
        "direction": table.direction,
        "summary": counted(table),
        "verdict": table.verdict if table.best_group is not None else "",
        "keys": keys,
        "jobs": [_job(table, i, group_of[id(table.jobs[i])]) for i in table.ranking],
        "job_columns": _job_columns(table, names),
        "groups": [_group(table, group, labels[number]) for number, group in enumerate(table.groups)],
        "group_columns": _group_columns(table, names),
        "importance": [_importance(item) for item in table.importance],
        "importance_notes": _importance_notes(table.importance),
        "curves": _curves(table, group_of),
        "rates": _rates(table),
        "num_without_curves": max(0, len(table.jobs) - MAX_CURVES),
    }


def _job(table: SweepTable, i: int, group: int) -> dict[str, Any]:
    job, values = table.jobs[i], table.keys.values[i]
    best, total = job.best_epoch(table.metric, table.direction), job.summary.get("epochs")
    cells = [
        _cell(job.number),
        *(_cell(values[key]) for key in table.keys.main),
        _cell(job.state),
        _cell(table.values[i], plain_number(table.values[i])),
        _cell(None if best is None else best + 1, "-" if best is None else f"{best + 1}/{total or '?'}"),
        *(_cell(job.tests.get(name), plain_number(job.tests.get(name))) for name in table.tests),
        _cell(job.seconds, plain_time(job.seconds)),
    ]
    return {
        "number": job.number,
        "folder": _link(job.folder, table.folder),
        "state": job.state,
        "reason": job.reason,
        "is_worst": job.is_worst,
        "is_best": i == table.best_job,
        "group": group,
        "value": table.values[i],
        "values": {key: brief(values[key]) for key in table.keys.main},
        "numbers": {key: _number(values[key]) for key in table.keys.main},
        "cells": cells,
    }


def _job_columns(table: SweepTable, names: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        _column("job"),
        *(_column(names[key], key) for key in table.keys.main),
        _column("state"),
        _column(table.metric),
        _column("best epoch"),
        *(_column(name) for name in table.tests),
        _column("time"),
    ]


def _group(table: SweepTable, group: Group, label: str) -> dict[str, Any]:
    keys = [key for key in table.keys.main if key != SEED]
    own = [group.statistics.get(name) for name in (table.metric, *table.tests)]
    metric = group.statistics.get(table.metric)
    cells = [
        *(_cell(group.values[key]) for key in keys),
        _cell(group.states["finished"]),
        *([_cell(group.remark)] if table.has_remarks else []),
        *(_cell(item and item.mean, spread(item)) for item in own),
    ]
    return {
        "label": label,
        "is_best": group is table.best_group,
        "mean": metric and metric.mean,
        "deviation": metric and metric.deviation,
        "cells": cells,
    }


def _group_columns(table: SweepTable, names: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        *(_column(names[key], key) for key in table.keys.main if key != SEED),
        _column("runs"),
        *([_column("not in the means")] if table.has_remarks else []),
        *(_column(name) for name in (table.metric, *table.tests)),
    ]


def _labels(table: SweepTable, names: Mapping[str, str]) -> list[str]:
    """Returns the values of each group, without the keys that only jobs without a value tell apart."""
    keys = [key for key in table.keys.main if key != SEED]
    compared = [group for group in table.groups if table.metric in group.statistics]
    varying = [key for key in keys if len({shown(group.values[key]) for group in compared}) > 1]
    found = []
    for group in table.groups:
        own = varying if table.metric in group.statistics else keys
        found.append(", ".join(f"{names[key]}={brief(group.values[key])}" for key in own) or "all jobs")
    return found


def _importance(item: Importance) -> dict[str, Any]:
    return {
        "name": item.key,
        "share": item.share,
        "by_chance": item.by_chance,
        "num_levels": item.num_levels,
        "num_jobs": item.num_jobs,
    }


def _importance_notes(found: Sequence[Importance]) -> list[str]:
    """Returns what a reader has to know before believing the shares."""
    notes = []
    pairs = {tuple(sorted([item.key, other])) for item in found for other in item.confounded_with}
    notes += [
        f"{one} and {other} change together (Cramér's V above {CONFOUNDED}), so their shares cannot be told apart."
        for one, other in sorted(pairs)
    ]
    few = [item.key for item in found if item.share is None and item.num_levels > 1]
    if few:
        notes.append(f"Too few finished jobs with a spread for {', '.join(few)}: two for each value are needed.")
    return notes


def _curves(table: SweepTable, group_of: Mapping[int, int]) -> list[dict[str, Any]]:
    """Returns the losses and the metric of the best jobs by epoch, counted from 1."""
    names = dict.fromkeys(["train_loss", "val_loss", table.metric])
    jobs = [table.jobs[i] for i in table.ranking[:MAX_CURVES]]
    found = []
    for name in names:
        lines = [_line(job, group_of[id(job)], _thin(_column_of(job, name))) for job in jobs]
        if any(line["points"] for line in lines):
            found.append({"name": name, "lines": [line for line in lines if line["points"]]})
    return found


def _rates(table: SweepTable) -> list[dict[str, Any]]:
    """Returns the learning rate by optimizer step, of one job of each group."""
    chosen = [(number, job) for number, group in enumerate(table.groups[:MAX_CURVES]) for job in group.jobs[:1]]
    lines = [_line(job, number, _thin(job.rates)) for number, job in chosen]
    return [line for line in lines if line["points"]]


def _line(job: JobResult, group: int, points: list[list[float]]) -> dict[str, Any]:
    return {"number": job.number, "group": group, "is_worst": job.is_worst, "points": points}


def _column_of(job: JobResult, name: str) -> list[tuple[float, float]]:
    return [(row["epoch"] + 1, row[name]) for row in job.epochs if name in row and "epoch" in row]


def _thin(points: Iterable[tuple[float, float]]) -> list[list[float]]:
    """Returns at most about `MAX_POINTS` points: the lowest and the highest of each stretch."""
    every = [list(map(float, point)) for point in points]
    if len(every) <= MAX_POINTS:
        return every
    size = -(-2 * len(every) // MAX_POINTS)
    kept: set[int] = {0, len(every) - 1}
    for start in range(0, len(every), size):
        stretch = range(start, min(start + size, len(every)))
        kept |= {min(stretch, key=lambda i: every[i][1]), max(stretch, key=lambda i: every[i][1])}
    return [every[i] for i in sorted(kept)]


def _column(name: str, title: str = "") -> dict[str, str]:
    return {"name": name, "title": title}


def _cell(value: Any, text: str | None = None) -> dict[str, Any]:
    """Returns the text of a cell, and the number or text by which its column is sorted."""
    written = brief(value) if text is None else text
    number = _number(value)
    return {"text": written, "sort": number if number is not None else written if text is None else ""}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _link(path: Path, folder: Path) -> str | None:
    """Returns the job's folder as seen from the page; None if it does not exist or lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_dir() and path.is_relative_to(folder) else None
