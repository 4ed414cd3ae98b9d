"""The value by which a sweep compares its jobs; imports no torch."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from partoken.errors import UserError, did_you_mean
from partoken.system.tables import read_table

__all__ = ["check_metric", "metric_value", "objective"]

WORST = 1e9
"""Objective, in size, of a run without a finite metric: a NaN would end a whole sweep."""


def metric_value(folder: Path, metric: str) -> float | None:
    """Returns a metric of a run that has ended.

    Arguments:
        folder: the run folder.
        metric: the name of `train.monitor`, `test_NAME` for a score of the test, or a column of `metrics.csv`, of which
            the value at the best epoch counts, or at the last epoch if the run has no best one.

    Returns:
        None if the run has no such metric, has not ended, or has diverged.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text())
    except FileNotFoundError:
        return None
    if summary.get("status") == "diverged":
        return None
    if metric == summary["monitor"]["name"]:
        return _finite(summary["monitor"]["best"])
    if metric.startswith("test_"):
        return _finite(summary["test"].get(metric.removeprefix("test_")))
    rows = read_table(folder / "metrics.csv")
    best = [row for row in rows if int(row["epoch"]) == summary.get("best_epoch")]
    return _finite((best or rows[-1:] or [{}])[0].get(metric))


def objective(folder: Path, metric: str, direction: str) -> float:
    """Returns the value of a run for a sweeper; a run without a finite one counts as the worst.

    Arguments:
        folder: the run folder.
        metric: see `metric_value`.
        direction: "max" or "min".
    """
    value = metric_value(folder, metric)
    if value is not None:
        return value
    return WORST if direction == "min" else -WORST


def check_metric(key: str, metric: str, names: Sequence[str]) -> None:
    """Rejects a metric that no run can have.

    Arguments:
        key: of the configuration, for the message.
        metric: its value.
        names: metrics of the task; see `partoken.training.module.ScheduledModule.metrics`. None: anything is allowed.

    Raises:
        UserError: naming the known metrics and the closest one.
    """
    if names and metric not in names:
        raise UserError(f"{key}={metric}: no such metric; known: {', '.join(names)}.{did_you_mean(metric, names)}")


def _finite(value: Any) -> float | None:
    if value in (None, ""):
        return None
    number = float(value)
    return number if math.isfinite(number) else None
