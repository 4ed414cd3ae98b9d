"""Presents a finished run: draws its plots and logs its summary. Knows no domain."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.report.panels import plot_panels
from partoken.report.plots import plot_losses, plot_matrix, plot_rates
from partoken.schedule.plot import plot_applied
from partoken.schedule.stages import read_fingerprint
from partoken.system.files import atomic_path
from partoken.system.tables import read_table

__all__ = ["format_summary", "present"]

log = logging.getLogger(__name__)


def present(folder: Path) -> None:
    """Draws the plots of a finished run into `plots/` and logs its summary.

    Draws `learning_rate.png`, `losses.png`, and one picture for each entry of `matrices` and `panels` in
    the summary. A run that only tested a checkpoint (`trained` is false) has neither rates nor losses to draw.

    Arguments:
        folder: a run folder with `summary.json`, `lr.csv` and `metrics.csv`.

    Raises:
        OSError: a file cannot be read or written.
    """
    summary = json.loads((folder / "summary.json").read_text())
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    if summary.get("trained", True):
        _plot_schedule(folder / "lr.csv", summary["schedule"], plots / "learning_rate.png")
        plot_losses(
            folder / "metrics.csv",
            plots / "losses.png",
            epoch_line=summary.get("epoch_line"),
            best_epoch=summary.get("best_epoch"),
        )
    for stem, matrix in summary.get("matrices", {}).items():
        plot_matrix(matrix, plots / f"{stem}.png")
    for stem, panels in summary.get("panels", {}).items():
        plot_panels(panels, folder, plots / f"{stem}.png")
    for line in format_summary(summary):
        log.info("%s", line)


def format_summary(summary: Mapping[str, Any]) -> list[str]:
    """Returns the summary of a run as lines: its stages, the test scores beside every baseline, then facts.

    Arguments:
        summary: the content of `summary.json`. `Task.summary` in `partoken/training/domain.py` describes the keys that
            the domain writes; only `test` is required.

    >>> scores = {"accuracy": 0.8, "loss": 0.61}
    >>> baselines = {"always 'helix'": {"accuracy": 0.5}, "logistic regression": {"accuracy": 0.7}}
    >>> for line in format_summary({"test": scores, "baselines": baselines, "facts": {"memory": "64 slots used"}}):
    ...     print(line)
    test                    model   always 'helix'   logistic regression
      accuracy              0.800            0.500                 0.700
      loss                  0.610
    memory            64 slots used
    """
    facts = {
        **summary.get("facts", {}),
        "schedule": summary.get("schedule", {}).get("verdict"),
        "left out": _left_out(summary),
        "fork": _fork(summary.get("fork")),
        "speed": _speed(summary),
        "best checkpoint": _best_checkpoint(summary),
        "run folder": summary.get("run_folder"),
        "pictures": f"{summary['run_folder']}/plots" if "run_folder" in summary else None,
        "page": f"partoken report {summary.get('run_folder')}" if summary.get("has_page") else None,
        "next": _next_command(summary),
    }
    width = max(16, *map(len, facts))
    lines = [f"{name:<{width}}  {fact}" for name, fact in facts.items() if fact]
    tested = summary.get("tested", True)
    tables = summary.get("tables", {})
    scores = ["test              not run"]
    if tested:
        scores = _score_table(_without_rows(summary["test"], tables), summary.get("baselines", {}))
        for title, rows in tables.items():
            scores += _table_of_parts(title, rows)
    return _stage_table(summary.get("stages", []), tables) + scores + lines


def _left_out(summary: Mapping[str, Any]) -> str | None:
    """Describes the batches that `train.on_nonfinite=skip` left out; None if no batch was."""
    parts = summary.get("stages") or [summary]
    number = sum(part.get("skipped_batches", 0) for part in parts)
    return f"{number} batches whose loss was not a finite number" if number else None


def _fork(fork: Mapping[str, Any] | None) -> str | None:
    """Returns the trunk of a fork, and what the fork cost and gained."""
    if fork is None:
        return None
    line = f"{fork['steps']:,} steps beyond step {fork['step']:,} of {fork['trunk']}"
    if fork["gained"] is None:
        return line
    monitor = fork["monitor"]
    return f"{line}, gained {fork['gained']:.4f} in {monitor['name']} over its best, {monitor['best']:.4f}"


def _without_rows(scores: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the scores that do not belong to a row of a table."""
    prefixes = tuple(f"{row}_" for rows in tables.values() for row in rows)
    return {name: value for name, value in scores.items() if not name.startswith(prefixes)}


def _table_of_parts(title: str, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns a line for each part of an answer; a part without a column has an empty cell there.

    >>> for line in _table_of_parts("label", {"fold": {"accuracy": 0.5, "chains": 80}, "site": {"chains": 7}}):
    ...     print(line)
    label   accuracy   chains
    fold       0.500       80
    site                    7
    """
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [[title, *columns]]
    for name, row in rows.items():
        cells.append([name, *(_number(row[column]) if column in row else "" for column in columns)])
    return _aligned(cells)


def _stage_table(stages: Sequence[Mapping[str, Any]], tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns a line for each stage: epochs, best monitored value, test of its best checkpoint, time."""
    if not stages:
        return []
    monitor = stages[-1]["monitor"]["name"]
    scores = [name for name in _without_rows(stages[-1]["test"], tables) if name != "loss"]
    rows = [["stage", "epochs", f"best {monitor}", *(f"test {name.replace('_', ' ')}" for name in scores), "seconds"]]
    for stage in stages:
        first = stage["first_epoch"] + 1
        epochs = f"{first}-{first + stage['epochs'] - 1}" if stage["epochs"] > 1 else str(first)
        values = [stage["monitor"]["best"] if stage["monitor"]["name"] == monitor else None]
        values += [stage["test"].get(name) for name in scores]
        rows.append([stage["name"], epochs, *map(_number, values), f"{stage['seconds']:.0f}"])
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns rows of equally many cells as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        numbers = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("   ".join([f"{row[0]:<{widths[0]}}", *numbers]).rstrip())
    return lines


def _score_table(scores: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    name_width = max(20, *(len(name) + 4 for name in scores), 0)
    widths = [max(6, len(name)) for name in baselines]
    header = f"{'test':<{name_width}}{'model':>9}"
    header += "".join(f"   {name:>{width}}" for name, width in zip(baselines, widths, strict=True))
    lines = [header]
    for metric, value in scores.items():
        line = f"  {metric.replace('_', ' '):<{name_width - 2}}{_number(value):>9}"
        for baseline, width in zip(baselines.values(), widths, strict=True):
            cell = _number(baseline[metric]) if metric in baseline else ""
            line += f"   {cell:>{width}}"
        lines.append(line.rstrip())
    return lines


def _number(value: float | None) -> str:
    """Returns a score with three decimals, or three digits if it is very large or small; "-" for no number."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.3f}"
    return f"{value:.2e}"


def _best_checkpoint(summary: Mapping[str, Any]) -> str | None:
    if "best_checkpoint" not in summary:
        return None
    epoch = f"epoch {summary['best_epoch'] + 1} of {summary['epochs']}"
    return f"{summary['best_checkpoint']} ({epoch}{', tested' if summary.get('tested', True) else ''})"


def _next_command(summary: Mapping[str, Any]) -> str | None:
    """Returns the command that uses the trained model, if its domain has a prediction."""
    if summary.get("predict_module") is None:
        return None
    words = ["partoken predict", summary["best_checkpoint"], "FILES", *summary.get("predict_options", ()), "--out OUT"]
    return " ".join(words)


def _plot_schedule(table: Path, schedule: Mapping[str, Any], path: Path) -> None:
    """Draws the rates of a run over its plan, or its plans if it has several optimizers."""
    optimizers = schedule.get("optimizers", {"": schedule})
    fingerprints = {name: part.get("plan") for name, part in optimizers.items()}
    if None in fingerprints.values():
        plot_rates(table, path)
        return
    plans = {name: read_fingerprint(fingerprint) for name, fingerprint in fingerprints.items()}
    groups = {
        (name, group): read_fingerprint(fingerprint)
        for name, part in optimizers.items()
        for group, fingerprint in part.get("groups", {}).items()
    }
    with atomic_path(path) as partial:
        plot_applied(read_table(table), plans, partial, groups=groups)


def _speed(summary: Mapping[str, Any]) -> str | None:
    suffix = "_per_second"
    for key, speed in summary.items():
        if key.endswith(suffix):
            unit = key.removesuffix(suffix)
            return f"{speed:,.0f} {unit} a second in training, {summary['seconds']:.0f} s in all"
    return None
