"""Pictures of tiles: true colour with one stretch everywhere, and the panels of a test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from partoken.satellite.metrics import ndvi
from partoken.satellite.tiles.batch import TileBatch
from partoken.system.files import atomic_write

__all__ = ["PANELS_FILE", "ShownTiles", "tile_psnr", "true_colour"]

BRIGHTEST = 0.25
"""Reflectance that is shown at full brightness. Clouds and snow are brighter, and saturate."""
GAMMA = 1.6
"""Exponent 1 / GAMMA lightens dark surfaces such as forest and water."""
PANELS_FILE = "test_tiles.npz"
KEPT = 99
"""Largest number of tiles that are kept until the end of a test."""
NARROW = 0.3
"""Data range of the PSNR by which tiles are chosen."""


def true_colour(reflectance: np.ndarray) -> np.ndarray:
    """Returns red, green and blue from 0 to 1: (reflectance / 0.25) ^ (1 / 1.6), cut off at 1; the same for all tiles.

    Arguments:
        reflectance: [4, H, W]: b2, b3, b4 and b8. NaN stays NaN.

    Returns:
        float [H, W, 3].

    Example:

    >>> true_colour(np.array([0.0, 0.25, 0.7, 0.3]).reshape(4, 1, 1)).ravel().tolist()
    [1.0, 1.0, 0.0]
    """
    colours: np.ndarray = np.clip(reflectance[[2, 1, 0]] / BRIGHTEST, 0, 1) ** (1 / GAMMA)
    return np.moveaxis(colours, 0, -1)


@dataclass(order=True)
class _Kept:
    """A tile with its answer, in half precision."""

    psnr: float
    id: str
    vv: np.ndarray = field(compare=False)
    """float16 [H, W], NaN where missing."""
    truth: np.ndarray = field(compare=False)
    """float16 [4, H, W], NaN where missing."""
    predicted: np.ndarray = field(compare=False)
    """float16 [4, H, W], NaN where the radar is missing."""


class ShownTiles:
    """Chooses the best, the median and the worst tile of a test by their PSNR, in memory that does not grow.

    Beyond 99 tiles it keeps every second, then every fourth, and so on, beside the best and the worst: so the median is
    then the kept tile that is nearest to it.
    """

    def __init__(self) -> None:
        self._psnrs: list[float] = []
        self._best: _Kept | None = None
        self._worst: _Kept | None = None
        self._kept: list[_Kept] = []
        self._every = 1

    def add(self, batch: TileBatch, predicted: Tensor) -> None:
        """Adds B tiles; a tile without a valid pixel is left out.

        Arguments:
            batch: B tiles.
            predicted: reflectance, [B, 4, H, W].
        """
        mask = batch.s1_mask & batch.s2_mask
        scores = tile_psnr(predicted.detach(), batch.s2, mask)
        for place, score in enumerate(scores.tolist()):
            if not math.isnan(score):
                self._keep(
                    _Kept(
                        score,
                        batch.ids[place],
                        _blank(batch.s1[place, 0], batch.s1_mask[place]),
                        _blank(batch.s2[place], batch.s2_mask[place]),
                        _blank(predicted[place].detach(), batch.s1_mask[place]),
                    )
                )

    def _keep(self, tile: _Kept) -> None:
        self._best = tile if self._best is None else max(self._best, tile)
        self._worst = tile if self._worst is None else min(self._worst, tile)
        if len(self._psnrs) % self._every == 0:
            self._kept.append(tile)
        self._psnrs.append(tile.psnr)
        if len(self._kept) > KEPT:
            del self._kept[1::2]
            self._every *= 2

    def choose(self) -> dict[str, _Kept]:
        """Returns the tiles by their names: best, median and worst; fewer if there are fewer."""
        if self._best is None or self._worst is None:
            return {}
        median = float(np.median(self._psnrs))
        middle = min(self._kept, key=lambda tile: abs(tile.psnr - median))
        chosen = {"best": self._best, "median": middle, "worst": self._worst}
        ids = [tile.id for tile in chosen.values()]
        return {name: tile for n, (name, tile) in enumerate(chosen.items()) if tile.id not in ids[:n]}

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes the chosen tiles into `test_tiles.npz` in a folder, completely or not at all.

        Returns:
            `panels` of `partoken.training.domain.Task.summary`: the tiles in true colour, and their NDVI.
        """
        chosen = self.choose()
        if not chosen:
            return {}
        arrays = _arrays(list(chosen.values()))
        with atomic_write(folder / PANELS_FILE, "wb") as file:
            np.savez_compressed(file, **arrays)
        rows = [f"{name}: {tile.psnr:.1f} dB\n{tile.id}" for name, tile in chosen.items()]
        return _panels(rows)


def tile_psnr(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Computes the PSNR of each tile over all bands for the data range 0.3, [B]; NaN for a tile without pixels.

    Arguments: as for `partoken.satellite.metrics.ImageScores.add`.
    """
    error = (predicted.double().clamp(0, 1) - truth.double().clamp(0, 1)) * mask.unsqueeze(1)
    squared = error.square().sum((1, 2, 3)) / (4 * mask.sum((1, 2)))
    return 10 * torch.log10(NARROW**2 / squared.clamp(min=1e-12))


def _blank(values: Tensor, mask: Tensor) -> np.ndarray:
    blanked: np.ndarray = values.float().masked_fill(~mask, math.nan).half().cpu().numpy()
    return blanked


def _arrays(tiles: Sequence[_Kept]) -> dict[str, Any]:
    """Returns the arrays of the panels, one row per tile."""
    truth, predicted = (
        np.stack([getattr(tile, name) for tile in tiles]).astype(np.float32) for name in ("truth", "predicted")
    )
    with np.errstate(invalid="ignore"):
        colours = {"truth": truth, "predicted": predicted}
        error = np.abs(predicted - truth).mean(1)
        indices = {name: ndvi(torch.from_numpy(values)).numpy() for name, values in colours.items()}
    return {
        "vv": np.stack([tile.vv for tile in tiles]).astype(np.float32),
        **{f"{name}_colour": np.stack([true_colour(image) for image in images]) for name, images in colours.items()},
        "error": error,
        **{f"{name}_ndvi": index for name, index in indices.items()},
        "ndvi_error": indices["predicted"] - indices["truth"],
    }


def _panels(rows: list[str]) -> dict[str, Any]:
    def numbers(name: str, array: str, limits: tuple[float, float], colors: str, label: str) -> dict[str, Any]:
        return {"name": name, "array": array, "limits": list(limits), "colors": colors, "label": label}

    vegetation = (-0.2, 1.0), "sequential", "NDVI"
    tiles = {
        "title": "Test tiles: best, median and worst PSNR (data range 0.3)",
        "file": PANELS_FILE,
        "rows": rows,
        "columns": [
            numbers("radar VV", "vv", (-25.0, 0.0), "grey", "dB"),
            {"name": "prediction", "array": "predicted_colour"},
            {"name": "truth", "array": "truth_colour"},
            numbers("error", "error", (0.0, 0.15), "sequential", "mean absolute error of reflectance"),
        ],
    }
    index = {
        "title": "Vegetation index NDVI of the same tiles",
        "file": PANELS_FILE,
        "rows": rows,
        "columns": [
            numbers("prediction", "predicted_ndvi", *vegetation),
            numbers("truth", "truth_ndvi", *vegetation),
            numbers("prediction - truth", "ndvi_error", (-0.5, 0.5), "diverging", "difference of NDVI"),
        ],
    }
    return {"test_tiles": tiles, "test_ndvi": index}
