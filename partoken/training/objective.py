"""The value by which a sweep compares its jobs; imports no torch."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.errors import UserError, did_you_mean
from partoken.system.tables import read_table

__all__ = ["check_metric", "metric_of", "metric_value", "objective"]

WORST = 1e9
"""Objective, in size, of a run without a finite metric: a NaN would end a whole sweep."""


def metric_value(folder: Path, metric: str) -> float | None:
    """Returns a metric of a run that has ended; see `metric_of`.

    Arguments:
        folder: the run folder.
        metric: its name.

    Returns:
        None if the run has no such metric, has not ended, or has diverged.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text())
    except FileNotFoundError:
        return None
    table = folder / "metrics.csv"  # a run that only tests has none
    rows = read_table(table) if "monitor" in summary and table.is_file() else []
    return metric_of(summary, rows, metric)


def metric_of(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    """Returns a metric of a run.

    Arguments:
        summary: the content of its `summary.json`.
        rows: of its `metrics.csv`.
        metric: the name of `train.monitor`, whose best value counts; `test_NAME` for a score of the test; or a column
            of `metrics.csv`, of which the value at the best epoch counts, or at the last epoch if there is no best one.

    Returns:
        None if the run has no such metric, or has diverged.

    >>> summary = {"monitor": {"name": "val_loss", "best": 0.25}, "test": {"accuracy": 0.5}, "best_epoch": 1}
    >>> rows = [{"epoch": "0", "train_loss": "0.9"}, {"epoch": "1", "train_loss": "0.7"}]
    >>> [metric_of(summary, rows, name) for name in ("val_loss", "test_accuracy", "train_loss", "val_los")]
    [0.25, 0.5, 0.7, None]
    """
    if summary.get("status") == "diverged":
        return None
    monitor = summary.get("monitor") or {}
    if metric == monitor.get("name"):
        return _finite(monitor.get("best"))
    if metric.startswith("test_"):
        return _finite((summary.get("test") or {}).get(metric.removeprefix("test_")))
    best = [row for row in rows if "epoch" in row and int(row["epoch"]) == summary.get("best_epoch")]
    return _finite((best or list(rows[-1:]) or [{}])[0].get(metric))


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
        names: metrics of the task; see `ScheduledModule.metrics_of`. (): anything is allowed.

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
