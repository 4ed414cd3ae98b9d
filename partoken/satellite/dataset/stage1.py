"""Stored outputs of stage 1, on which stage 2 can be trained without computing them in each step."""

import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from partoken.errors import UserError
from partoken.satellite.tiles.tile import COUNTS, LARGEST, OPTICAL_BANDS
from partoken.system.files import atomic_write

__all__ = ["FOLDER", "Stage1Outputs", "write_output"]

FOLDER = "outputs"
"""Folder of the outputs inside the folder of a stage 1."""


class Stage1Outputs:
    """The outputs of stage 1 for the tiles of a data set: a file `ID.npz` for each.

    A file has the optical keys of a tile (`s2_b2` and so on), uint16 counts.

    Arguments:
        folder: with the files.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @classmethod
    def find(cls, stage1_dir: str) -> "Stage1Outputs | None":
        """Returns the stored outputs that belong to a stage 1; None if there are none.

        Arguments:
            stage1_dir: a run folder or a stage's folder, whose outputs are in `outputs/`; a folder of outputs alone; or
                a checkpoint, which has none.

        Raises:
            UserError: the folder does not exist.
        """
        root = Path(stage1_dir)
        if root.is_file():
            return None
        if not root.is_dir():
            raise UserError(f"data.stage1_dir={stage1_dir}: no such folder; name the folder of a finished stage 1")
        has_checkpoint = (root / "checkpoints").is_dir() or (root / "best.ckpt").is_file()
        folders = [root / FOLDER] if has_checkpoint else [root / FOLDER, root]
        return next((cls(folder) for folder in folders if next(folder.glob("*.npz"), None) is not None), None)

    def check(self, ids: Iterable[str]) -> None:
        """Checks that there is a file for each tile.

        Raises:
            UserError: naming the first tiles without one.
        """
        missing = [name for name in ids if not self._path(name).is_file()]
        if missing:
            shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            raise UserError(
                f"{self.folder} has no output of stage 1 for the tiles {shown}: let stage 1 predict the same tiles, or "
                "name a folder of stage 1 without stored outputs"
            )

    def read(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        """Returns the output for a tile, int16 [4, H, W] in counts.

        Arguments:
            name: of the tile.
            shape: height and width of the tile.

        Raises:
            UserError: the file cannot be read, or has another size.
        """
        path = self._path(name)
        try:
            with np.load(path) as file:
                bands = np.stack([file[band] for band in OPTICAL_BANDS])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{path} cannot be read as an output of stage 1: {error}; write it again") from error
        if bands.shape[1:] != shape:
            found = f"{bands.shape[1]} x {bands.shape[2]}"
            raise UserError(f"{path} has {found} pixels, its tile {shape[0]} x {shape[1]}: it is of another tile")
        counts: np.ndarray = np.minimum(bands, LARGEST).astype(np.int16)
        return counts

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def write_output(folder: Path, name: str, reflectance: Tensor) -> None:
    """Writes the output of stage 1 for a tile, completely or not at all.

    Arguments:
        folder: exists.
        name: of the tile.
        reflectance: [4, H, W], 0 or more.
    """
    counts = (reflectance.double() * COUNTS).round().clamp(0, LARGEST).cpu().numpy().astype(np.uint16)
    with atomic_write(folder / f"{name}.npz", "wb") as file:
        np.savez_compressed(file, **dict(zip(OPTICAL_BANDS, counts, strict=True)))
