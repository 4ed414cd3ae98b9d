"""The figure of `chaos.py`: in which window, and after which step, each kill ended its run."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chaos_run import Kill
from matplotlib import pyplot as plt

__all__ = ["plot_kills"]

COLORS = {0: "#1f4e79", 2: "#c55a11"}
"""By the number of workers."""


def plot_kills(kills: Sequence[Kill], windows: Sequence[str], path: Path) -> None:
    """Draws the kills of each window, and the step at which each one ended its run.

    Arguments:
        kills: that have landed.
        windows: in the order of the axis, from above.
        path: of the picture.
    """
    figure, (bars, points) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, width_ratios=[1, 2])
    number, ended = Counter((kill.window, kill.workers) for kill in kills), Counter[tuple[str, int, int]]()
    left = [0] * len(windows)
    for workers, color in COLORS.items():
        widths = [number[window, workers] for window in windows]
        bars.barh(range(len(windows)), widths, left=left, color=color, label=f"{workers} workers")
        left = [before + width for before, width in zip(left, widths, strict=True)]
    for kill in kills:
        place = (kill.window, kill.workers, kill.steps)
        height = windows.index(kill.window) + (-0.18 if kill.workers == 0 else 0.18)
        shift = 0.05 * ended[place]
        points.plot(kill.steps + shift, height, "|", color=COLORS[kill.workers], markersize=7)
        ended[place] += 1
    bars.set_yticks(range(len(windows)), windows)
    bars.invert_yaxis()
    bars.set_xlabel("kills")
    points.set_xlabel("optimizer steps taken when the kill came")
    bars.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    for axes in (bars, points):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
