"""Pictures of one run; matplotlib is imported when the first is drawn."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["plot_confusion", "plot_losses", "plot_rates"]

TRAIN, VALIDATION, MUTED = "#1f5f8b", "#d1603d", "#8a8a8a"


def _figure(width: float = 7.0, height: float = 4.0) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _column(rows: Sequence[Mapping[str, str]], name: str) -> tuple[list[int], list[float]]:
    """Returns the epochs, from 1 as the log counts them, that have a value in the column, and those values."""
    found = [(int(r["epoch"]) + 1, float(r[name])) for r in rows if r.get(name)]
    return [e for e, _ in found], [v for _, v in found]


def plot_losses(table: Path, path: Path, best_epoch: int | None = None) -> None:
    """Draws training and validation loss, and the validation scores, by epoch.

    Arguments:
        table: a run's `metrics.csv`.
        path: where the PNG goes.
        best_epoch: marked where given; counted from 0, as in `summary.json`.
    """
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axes = _figure()
    axes.plot(*_column(rows, "train_loss"), color=TRAIN, marker="o", label="training loss")
    axes.plot(*_column(rows, "val_loss"), color=VALIDATION, marker="o", label="validation loss")
    axes.set(xlabel="epoch", ylabel="loss", title="Loss and validation scores")
    axes.xaxis.get_major_locator().set_params(integer=True)
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    for name, style in (("val_accuracy", "--"), ("val_macro_f1", ":")):
        epochs, values = _column(rows, name)
        if epochs:
            right.plot(epochs, values, style, color=MUTED, label=name.removeprefix("val_").replace("_", "-"))
    right.set(ylim=(0, 1), ylabel="validation score")
    if best_epoch is not None:
        axes.axvline(best_epoch + 1, color=MUTED, linewidth=0.8)
        axes.annotate(" best", (best_epoch + 1, axes.get_ylim()[1]), color=MUTED, va="top")
    handles, labels = axes.get_legend_handles_labels()
    more, names = right.get_legend_handles_labels()
    figure.legend(handles + more, labels + names, frameon=False, loc="outside lower center", ncols=4)
    _save(figure, path)


def plot_confusion(confusion: Sequence[Sequence[int]], classes: Sequence[str], path: Path) -> None:
    """Draws a confusion matrix, counts written in, shaded by the share of the true class.

    Arguments:
        confusion: [classes][classes] chains, true classes as rows.
        classes: names.
        path: where the PNG goes.
    """
    size = max(3.6, 1.2 + 0.55 * len(classes))
    figure, axes = _figure(size + 0.8, size)
    shares = [[n / max(1, sum(row)) for n in row] for row in confusion]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= 20:
        for i, row in enumerate(confusion):
            for j, count in enumerate(row):
                axes.text(j, i, count, ha="center", va="center", color="white" if shares[i][j] > 0.5 else "black")
        ticks = range(len(classes))
        axes.set_xticks(ticks, classes, rotation=45 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(ticks, classes)
    axes.set(xlabel="predicted", ylabel="true", title="Test chains")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    _save(figure, path)


def plot_rates(table: Path, path: Path) -> None:
    """Draws the learning rate of every optimizer step and group, for a run whose scheduler has no plan.

    Arguments:
        table: a run's `lr.csv`.
        path: where the PNG goes.
    """
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    figure, axes = _figure()
    for group in sorted({r["group"] for r in rows}):
        own = [r for r in rows if r["group"] == group]
        axes.step([int(r["step"]) for r in own], [float(r["lr"]) for r in own], where="post", label=f"group {group}")
    axes.set(xlabel="optimizer step", ylabel="learning rate", title="Learning rate of every optimizer step")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    _save(figure, path)
