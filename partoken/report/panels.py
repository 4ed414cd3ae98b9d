"""Grids of images, drawn from arrays that a run left in its folder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from partoken.report.picture import save_figure

__all__ = ["plot_panels"]

COLORS = {"grey": "gray", "sequential": "cividis", "diverging": "PuOr"}
"""Colour maps that a person with a colour vision deficiency can read."""
MISSING = (0.82, 0.82, 0.82)
CELL = 2.2
"""Side of an image in inches."""
WRAP = 24
"""Characters after which the name of a row is wrapped."""


def plot_panels(panels: Mapping[str, Any], folder: Path, path: Path) -> None:
    """Draws one image per row and column, in columns of numbers with the bar of their colours below.

    Arguments:
        panels: `title`, `file`, `rows` and `columns`, as in `summary.json`; `Task.summary` in
            `partoken/training/domain.py` describes them.
        folder: the run folder, which has the file.
        path: the PNG file.

    Raises:
        OSError: the file cannot be read or the picture cannot be written.
    """
    from matplotlib.figure import Figure

    rows, columns = panels["rows"], panels["columns"]
    with np.load(folder / panels["file"], allow_pickle=False) as file:
        arrays = [file[column["array"]] for column in columns]
    size = (CELL * len(columns) + 1.7, CELL * len(rows) + 1.3)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(len(rows) + 1, len(columns), height_ratios=[1] * len(rows) + [0.06])
    for j, (column, images) in enumerate(zip(columns, arrays, strict=True)):
        cells = [figure.add_subplot(grid[i, j]) for i in range(len(rows))]
        shown = [_draw(axes, image, column) for axes, image in zip(cells, images, strict=True)]
        cells[0].set_title(column["name"])
        if "limits" in column:
            _add_bar(figure, shown[0], figure.add_subplot(grid[-1, j]), column, images)
        if j == 0:
            for axes, name in zip(cells, rows, strict=True):
                axes.set_ylabel(_wrap(name), rotation=0, ha="right", va="center", fontsize="small")
    figure.suptitle(panels["title"])
    save_figure(figure, path)


def _draw(axes: Any, image: np.ndarray, column: Mapping[str, Any]) -> Any:
    axes.set(xticks=[], yticks=[], facecolor=MISSING)
    if image.ndim == 3:
        return axes.imshow(np.where(np.isnan(image), MISSING, image))
    low, high = column["limits"]
    masked = np.ma.masked_invalid(image)
    return axes.imshow(masked, cmap=COLORS[column["colors"]], vmin=low, vmax=high)


def _add_bar(figure: Any, shown: Any, axes: Any, column: Mapping[str, Any], images: np.ndarray) -> None:
    """Adds the bar of a column, whose ends are pointed where values lie beyond the limits."""
    low, high = column["limits"]
    finite = images[np.isfinite(images)]
    below, above = bool((finite < low).any()), bool((finite > high).any())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    bar = figure.colorbar(shown, cax=axes, orientation="horizontal", extend=extend)
    bar.set_label(_wrap(column["label"]), fontsize="small")
    bar.ax.tick_params(labelsize="small")


def _wrap(text: str) -> str:
    """Breaks lines at spaces, and names also after `_` and `/`.

    >>> print(_wrap("best: 12 dB\\nnorth/S2A_20170613T101031_26_57"))
    best: 12 dB
    north/S2A_
    20170613T101031_26_57
    """
    lines: list[str] = []
    for line in text.split("\n"):
        current = ""
        for part in re.findall(r"[^ _/]*[ _/]*", line):
            if current and len(current + part.rstrip()) > WRAP:
                lines.append(current.rstrip())
                current = ""
            current += part
        lines.append(current.rstrip())
    return "\n".join(lines)
