"""Writing a picture, completely or not at all."""

from pathlib import Path
from typing import TYPE_CHECKING

from partoken.system.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_figure"]


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes a figure as a PNG file.

    Raises:
        UserError: no space is left on the disk.
        OSError: the file cannot be written.
    """
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=150, format="png")
