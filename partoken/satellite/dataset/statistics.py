"""Mean and standard deviation of the bands over the valid pixels of the training tiles."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from partoken.satellite.tiles.tile import COUNTS, MISSING, RADAR_STEP, Tile

__all__ = ["band_statistics"]


def band_statistics(tiles: Iterable[Tile]) -> dict[str, Any]:
    """Returns mean and standard deviation of each band, over valid pixels.

    Arguments:
        tiles: the training tiles, at least one.

    Returns:
        `s1_mean` and `s1_std`, dB [2]; `s2_mean` and `s2_std`, reflectance [4]. A deviation is at least one step of
        the packed values, so that a constant band can be divided by it.
    """
    radar, optical = _Moments(RADAR_STEP), _Moments(1 / COUNTS)
    for tile in tiles:
        radar.add(tile.s1)
        optical.add(tile.s2)
    return {
        "s1_mean": radar.mean.tolist(),
        "s1_std": radar.std.tolist(),
        "s2_mean": optical.mean.tolist(),
        "s2_std": optical.std.tolist(),
    }


class _Moments:
    """Exact sums over packed values: whole numbers, so the result does not depend on the order of the tiles."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.count = 0
        self.sum: Any = 0
        self.squares: Any = 0

    def add(self, packed: np.ndarray) -> None:
        valid = packed[:, packed[0] != MISSING].astype(np.int64)
        self.count += valid.shape[1]
        self.sum = self.sum + valid.sum(1)
        self.squares = self.squares + (valid * valid).sum(1)

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self.sum / max(self.count, 1) * self.step)

    @property
    def std(self) -> np.ndarray:
        count = max(self.count, 1)
        # count x squares - sum^2 overflows int64 for large data sets; Python's integers do not
        variances = [(count * int(q) - int(s) ** 2) / count**2 for s, q in zip(self.sum, self.squares, strict=True)]
        return np.asarray(np.maximum(np.sqrt(variances), 1.0) * self.step)
