"""Plots of one run. matplotlib is imported when the first plot is drawn."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

from partoken.report.picture import save_figure
from partoken.schedule.plot import mark_stages
from partoken.system.tables import read_table

__all__ = ["plot_losses", "plot_matrix", "plot_range", "plot_rates"]

TRAIN, VALIDATION, MUTED = "#1f5f8b", "#d1603d", "#6f7680"
SCORE_STYLES = ("--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
WRAP = 16
"""Characters after which a label of a matrix is wrapped."""
MAX_COUNTS = 20
"""Number of labels up to which the counts of a matrix are written into its cells."""
MAX_LABELS = 60
"""Number of labels up to which the labels of a matrix are shown."""


def plot_losses(
    table: Path,
    path: Path,
    *,
    epoch_line: Sequence[str] | None = None,
    best_epoch: int | None = None,
) -> None:
    """Draws the training and validation loss, and the validation scores, of each epoch, with the borders of stages.

    Arguments:
        table: a run's `metrics.csv`.
        path: the PNG file.
        epoch_line: names of the metrics that the task logs after each epoch; the scores among them start with `val_`
            and are no losses. None draws every `val_` column without a loss whose values lie in [0, 1].
        best_epoch: the epoch to mark, counted from 0 as in `summary.json`; None marks none.

    Raises:
        OSError: the table cannot be read or the picture cannot be written.
    """
    rows = read_table(table)
    figure, axes = _figure()
    for name, label, color in (
        ("train_loss", "training loss", TRAIN),
        ("val_loss", "validation loss", VALIDATION),
    ):
        _plot_by_stage(axes, rows, name, color=color, marker="o", label=label)
    axes.set(xlabel="epoch", ylabel="loss", title="Losses and validation scores")
    axes.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes.get_legend_handles_labels()

    scores = _score_columns(rows, epoch_line)
    if scores:
        right = _plot_scores(axes, rows, scores)
        more_handles, more_labels = right.get_legend_handles_labels()
        handles, labels = handles + more_handles, labels + more_labels
    else:
        axes.set_title("Losses")

    mark_stages(axes, _stage_starts(rows))
    if best_epoch is not None:
        axes.axvline(best_epoch + 1, color=MUTED, linewidth=0.8)
        is_left = best_epoch + 1 < sum(axes.get_xlim()) / 2
        text, side = (" best", "left") if is_left else ("best ", "right")
        axes.annotate(text, (best_epoch + 1, axes.get_ylim()[1]), color=MUTED, va="top", ha=side)
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=min(4, max(1, len(labels))))
    save_figure(figure, path)


def plot_matrix(matrix: Mapping[str, Any], path: Path) -> None:
    """Draws a square matrix of counts, each cell shaded by its fraction of the row.

    Arguments:
        matrix: `title`, `rows` and `columns` (names of the axes), `labels` (`[n]` names) and `values` (`[n][n]`
            counts), as in `summary.json`.
        path: the PNG file.

    Raises:
        OSError: the picture cannot be written.
    """
    labels = [_wrap(str(label)) for label in matrix["labels"]]
    values = matrix["values"]
    fractions = [[count / max(1, sum(row)) for count in row] for row in values]

    figure, axes = _figure(*_matrix_size(labels))
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= MAX_COUNTS:
        for i, row in enumerate(values):
            for j, count in enumerate(row):
                color = "white" if fractions[i][j] > 0.5 else "black"
                axes.text(j, i, f"{count:,}", ha="center", va="center", color=color)
    _label_matrix(axes, labels)
    axes.set(xlabel=matrix["columns"], ylabel=matrix["rows"], title=matrix["title"])
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="fraction of the row", shrink=0.8)
    save_figure(figure, path)


def plot_rates(table: Path, path: Path) -> None:
    """Draws the learning rate of every optimizer step, for a run whose scheduler has no plan.

    Parameter groups with the same rates share one line.

    Arguments:
        table: a run's `lr.csv`.
        path: the PNG file.

    Raises:
        OSError: the table cannot be read or the picture cannot be written.
    """
    rows = read_table(table)
    figure, axes = _figure()
    groups_of_curve: dict[tuple[tuple[int, float], ...], list[str]] = {}
    for group in sorted({row["group"] for row in rows}, key=int):
        curve = tuple((int(row["step"]), float(row["lr"])) for row in rows if row["group"] == group)
        groups_of_curve.setdefault(curve, []).append(group)
    for curve, groups in groups_of_curve.items():
        label = f"{'group' if len(groups) == 1 else 'groups'} {', '.join(groups)}"
        axes.step([step for step, _ in curve], [rate for _, rate in curve], where="post", label=label)
    axes.set(
        xlabel="optimizer step",
        ylabel="learning rate",
        title="Learning rate of every optimizer step",
    )
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    save_figure(figure, path)


def plot_range(table: Path, path: Path, marks: Mapping[str, float]) -> None:
    """Draws the losses of a learning rate range test over the rate.

    Arguments:
        table: the CSV file with the columns `lr`, `loss` and `smoothed`; the loss has diverged where `smoothed` is
            empty.
        path: the PNG file.
        marks: rates to mark, by what they are.

    Raises:
        OSError: the table cannot be read or the picture cannot be written.
    """
    rows = [{name: float(row[name] or math.nan) for name in ("lr", "loss", "smoothed")} for row in read_table(table)]
    figure, axes = _figure()
    rates, smoothed = [row["lr"] for row in rows], [row["smoothed"] for row in rows]
    axes.plot(rates, [row["loss"] for row in rows], color=MUTED, linewidth=0.8, alpha=0.6, label="loss of a step")
    axes.plot(rates, smoothed, color=TRAIN, linewidth=2, label="smoothed")
    shown = [value for value in smoothed if math.isfinite(value)] or [0.0]
    fall = max(shown[: shown.index(min(shown)) + 1]) - min(shown) or 1.0
    axes.set_ylim(min(shown) - fall, min(shown) + 2.5 * fall)  # a loss that has diverged would hide the others
    for (name, rate), style in zip(marks.items(), cycle(SCORE_STYLES), strict=False):
        axes.axvline(rate, color=VALIDATION, linestyle=style, linewidth=1.2, label=f"{name}: {rate:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning rate range test")
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    save_figure(figure, path)


def _figure(width: float = 7.0, height: float = 4.0) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _column(rows: Sequence[Mapping[str, str]], name: str) -> tuple[list[int], list[float]]:
    """Returns the epochs with a finite value in the column, counted from 1 as in the log, and the values."""
    cells = [(int(row["epoch"]) + 1, float(row[name])) for row in rows if row.get(name)]
    finite = [(epoch, value) for epoch, value in cells if math.isfinite(value)]
    return [epoch for epoch, _ in finite], [value for _, value in finite]


def _stage_starts(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Returns the place before the first epoch of each stage, by its name; nothing for a run without named stages."""
    starts: dict[str, float] = {}
    for row in rows:
        if row.get("stage"):
            starts.setdefault(row["stage"], int(row["epoch"]) + 0.5)
    return starts


def _stage_rows(rows: Sequence[Mapping[str, str]]) -> list[list[Mapping[str, str]]]:
    """Returns the rows of each stage; of a run without named stages, all of them."""
    return [list(part) for _, part in groupby(rows, key=lambda row: row.get("stage"))]


def _score_columns(rows: Sequence[Mapping[str, str]], epoch_line: Sequence[str] | None) -> list[str]:
    """Returns the names of the columns that are validation scores and have values."""
    names = list(rows[0]) if epoch_line is None and rows else list(epoch_line or ())
    scores = [name for name in names if name.startswith("val_") and "loss" not in name]
    columns = {name: _column(rows, name)[1] for name in scores}
    if epoch_line is None:
        columns = {name: values for name, values in columns.items() if _in_unit_interval(values)}
    return [name for name, values in columns.items() if values]


def _in_unit_interval(values: Sequence[float]) -> bool:
    return all(0 <= value <= 1 for value in values)


def _plot_scores(axes: Any, rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> Any:
    """Draws the scores on an axis of their own at the right, and returns that axis.

    If some scores lie in [0, 1] and others do not, those that are like the first one are drawn.
    """
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    in_unit_interval = _in_unit_interval(_column(rows, names[0])[1])
    names = [name for name in names if _in_unit_interval(_column(rows, name)[1]) == in_unit_interval]
    for name, style in zip(names, cycle(SCORE_STYLES), strict=False):
        label = name.removeprefix("val_").replace("_", " ")
        _plot_by_stage(right, rows, name, linestyle=style, color=MUTED, label=label)
    right.set_ylabel("validation score")
    if in_unit_interval:
        right.set_ylim(0, 1)
    return right


def _plot_by_stage(axes: Any, rows: Sequence[Mapping[str, str]], name: str, *, label: str, **style: Any) -> None:
    """Draws a column with a line for each stage; none joins them, because a name may mean other things in each."""
    for part in _stage_rows(rows):
        epochs, values = _column(part, name)
        if epochs:
            axes.plot(epochs, values, label=label, **{"marker": "." if len(epochs) == 1 else None, **style})
            label = "_nolegend_"


def _wrap(label: str) -> str:
    return "\n".join(textwrap.wrap(label, WRAP)) or label


def _longest_line(labels: Sequence[str]) -> int:
    return max((len(line) for label in labels for line in label.split("\n")), default=0)


def _matrix_size(labels: Sequence[str]) -> tuple[float, float]:
    """Returns width and height in inches: a square for the cells, and margins for the labels and the colour bar."""
    num_shown = min(len(labels), MAX_LABELS)
    cells = max(2.6, 0.55 * num_shown if num_shown <= MAX_COUNTS else 0.2 * num_shown)
    margin = 0.08 * _longest_line(labels)
    return cells + margin + 1.7, cells + 0.7 * margin + 1.0


def _label_matrix(axes: Any, labels: Sequence[str]) -> None:
    if len(labels) > MAX_LABELS:
        return
    is_short = _longest_line(labels) <= 3
    size = "medium" if len(labels) <= MAX_COUNTS else "x-small"
    ticks = range(len(labels))
    axes.set_yticks(ticks, labels, fontsize=size)
    if is_short:
        axes.set_xticks(ticks, labels, fontsize=size)
    else:
        axes.set_xticks(ticks, labels, fontsize=size, rotation=45, ha="right", rotation_mode="anchor")
