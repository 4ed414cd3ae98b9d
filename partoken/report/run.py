"""The end of a run: its pictures, and its summary as a person reads it."""

import csv
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from partoken.report.plots import plot_confusion, plot_losses, plot_rates
from partoken.schedule.plot import plot_applied
from partoken.schedule.stages import read_fingerprint

__all__ = ["format_summary", "present"]

log = logging.getLogger(__name__)


def present(folder: Path) -> None:
    """Draws the pictures of a finished run into `plots/` and logs its summary.

    Arguments:
        folder: a run folder that holds `summary.json`, `lr.csv` and `metrics.csv`.
    """
    summary = json.loads((folder / "summary.json").read_text())
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    _draw_rates(folder / "lr.csv", summary["schedule"].get("plan"), plots / "learning_rate.png")
    plot_losses(folder / "metrics.csv", plots / "losses.png", best_epoch=summary.get("best_epoch"))
    if summary.get("confusion_matrix"):
        plot_confusion(summary["confusion_matrix"], summary["classes"], plots / "confusion_matrix.png")
    for line in format_summary(summary):
        log.info("%s", line)


def format_summary(summary: Mapping[str, Any]) -> list[str]:
    """Returns the summary of a run as lines, every score beside what doing nothing gives.

    >>> for line in format_summary({"test": {"accuracy": 0.8}, "majority": {"class": "1", "accuracy": 0.5}}):
    ...     print(line)
    test                    model   always '1'
      accuracy              0.800        0.500
    """
    majority = summary.get("majority", {})
    lines = [f"{'test':<20}{'model':>9}" + (f"   always '{majority['class']}'" if majority else "")]
    width = len(lines[0]) - 29
    for name, value in summary["test"].items():
        shown = "-" if value is None else f"{value:.3f}"
        beside = f"{majority[name]:>{width}.3f}" if name in majority else ""
        lines.append(f"  {name.replace('_', ' '):<18}{shown:>9}{beside}")
    facts = {
        "codebook": _facts(
            summary.get("codebook"), "{used_codes} codes used, perplexity {perplexity:.1f}, {dead_codes} never"
        ),
        "partition": _facts(
            summary.get("partition"),
            "{coverage:.0%} of the residues in {mean_count:.1f} substructures of {mean_size:.1f} residues",
        ),
        "schedule": summary.get("schedule", {}).get("verdict"),
        "speed": _speed(summary),
        "best checkpoint": _best(summary),
        "run folder": summary.get("run_folder"),
    }
    return lines + [f"{name:<16}  {fact}" for name, fact in facts.items() if fact]


def _best(summary: Mapping[str, Any]) -> str | None:
    if "best_checkpoint" not in summary:
        return None
    return f"{summary['best_checkpoint']} (epoch {summary['best_epoch'] + 1} of {summary['epochs']}, tested)"


def _draw_rates(table: Path, plan: Mapping[str, Any] | None, path: Path) -> None:
    if plan is None:
        plot_rates(table, path)
        return
    with open(table, newline="") as file:
        plot_applied(list(csv.DictReader(file)), read_fingerprint(plan), path)


def _facts(values: Mapping[str, Any] | None, text: str) -> str | None:
    try:
        return text.format(**values) if values else None
    except KeyError:
        return None


def _speed(summary: Mapping[str, Any]) -> str | None:
    units = [(k.removesuffix("_per_second"), v) for k, v in summary.items() if k.endswith("_per_second")]
    if not units:
        return None
    return f"{units[0][1]:,.0f} {units[0][0]} a second in training, {summary['seconds']:.0f} s in all"
