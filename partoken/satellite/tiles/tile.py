"""One tile: radar and optical bands of the same ground, 12 bytes per pixel."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = [
    "COUNTS",
    "LARGEST",
    "MISSING",
    "OPTICAL_BANDS",
    "RADAR_BANDS",
    "RADAR_STEP",
    "BadTile",
    "Tile",
    "TileInfo",
    "make_tile",
    "pack_optical",
    "pack_radar",
    "scene_of",
]

RADAR_BANDS = ("s1_vv", "s1_vh")
OPTICAL_BANDS = ("s2_b2", "s2_b3", "s2_b4", "s2_b8")
COUNTS = 10_000
"""Optical count of reflectance 1."""
RADAR_STEP = 0.01
"""Steps in which radar is kept, in dB; the speckle of a single pixel is several dB."""
RADAR_FLOOR = -60.0
"""Radar at or below it, in dB, is missing. The noise of Sentinel-1 lies above -40 dB, and a smaller value comes from
the logarithm of a placeholder."""
MISSING = -32_768
"""Marks a missing pixel in every band of the radar or of the optical image."""
LARGEST = 32_767
"""Largest count that is kept. Saturated pixels have 65,535."""


class BadTile(ValueError):
    """A tile that cannot be used; the message is the reason, in words for a person."""


@dataclass(frozen=True)
class TileInfo:
    """What is known of a tile without its pixels."""

    id: str
    """Name of the tile, unique in its data set."""
    scene: str
    """Name of the scene, such as a satellite pass over a region. Tiles of a scene are neighbours."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    file: str = ""
    """The file, relative to the folder of the data set."""
    split: str = ""
    """Given split: train, val or test; empty: none."""
    month: int = 0
    """1 to 12; 0: unknown."""
    biome: int = -1
    """0 to 15; -1: unknown."""
    offset: int = 0
    """Offset that was subtracted from the optical counts when the tile was read: 0 or 1000."""
    offset_stated: bool = False
    """True if the tile itself says which offset its counts carry."""
    missing_radar: int = 0
    """Number of pixels without radar."""
    missing_optical: int = 0
    """Number of pixels without an optical value."""
    darkest: int = 0
    """Smallest optical count before the offset was subtracted."""


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile with its pixels, packed. `tiles.batch.collate` returns them in dB and reflectance."""

    info: TileInfo
    s1: np.ndarray
    """int16 [2, H, W]: VV and VH in steps of 0.01 dB, `MISSING` in both where one is not known."""
    s2: np.ndarray
    """int16 [4, H, W]: b2, b3, b4 and b8 in counts without offset, `MISSING` in all where one is not known."""
    stage1: np.ndarray | None = None
    """int16 [4, H, W]: the same bands as stage 1 predicts them, in counts; None: not stored."""

    def map_pixels(self, function: Callable[[np.ndarray], np.ndarray], **info: Any) -> "Tile":
        """Returns the tile with a function applied to the pixels of all bands.

        Arguments:
            function: from [..., H, W] to [..., H', W'].
            info: fields of `TileInfo` that change.
        """
        stage1 = None if self.stage1 is None else function(self.stage1)
        return replace(make_tile(replace(self.info, **info), function(self.s1), function(self.s2)), stage1=stage1)


def make_tile(info: TileInfo, s1: np.ndarray, s2: np.ndarray) -> Tile:
    """Returns a tile of packed bands, with `shape` and the numbers of missing pixels filled in.

    Arguments:
        info: what else is known of the tile.
        s1: int16 [2, H, W], packed.
        s2: int16 [4, H, W], packed.
    """
    missing_radar, missing_optical = s1[0] == MISSING, s2[0] == MISSING
    valid = s2[:, ~missing_optical]
    values = {
        "shape": s1.shape[1:],
        "missing_radar": int(missing_radar.sum()),
        "missing_optical": int(missing_optical.sum()),
        "darkest": int(valid.min()) + info.offset if valid.size else 0,
    }
    return Tile(TileInfo(**{**vars(info), **values}), s1, s2)


def pack_radar(decibel: np.ndarray) -> np.ndarray:
    """Packs radar; a pixel is missing if a band is not finite or too low, or if both bands are exactly 0.

    Arguments:
        decibel: floats [2, H, W]: VV and VH in dB.

    Returns:
        int16 [2, H, W] in steps of 0.01 dB.

    Example:

    >>> pack_radar(np.array([[[-12.5, np.nan, 0.0]], [[-19.25, -20.0, 0.0]]])).tolist()
    [[[-1250, -32768, -32768]], [[-1925, -32768, -32768]]]
    """
    with np.errstate(invalid="ignore"):
        valid = (np.isfinite(decibel) & (decibel > RADAR_FLOOR)).all(0) & (decibel != 0).any(0)
    steps = np.where(valid, decibel, 0) / RADAR_STEP
    return np.where(valid, np.rint(steps), MISSING).astype(np.int16)


def pack_optical(counts: np.ndarray, offset: int = 0) -> np.ndarray:
    """Packs optical bands; a pixel is missing if a band is not finite or saturated, or if it holds no data.

    Counts without an offset hold no data where all bands are 0, because a dark pixel may have a single 0. Counts with
    an offset hold no data where any band is 0, because even a black surface has counts near the offset.

    Arguments:
        counts: numbers [4, H, W]: b2, b3, b4 and b8, reflectance x 10,000 + offset.
        offset: subtracted from every band.

    Returns:
        int16 [4, H, W] without offset.

    Example:

    >>> pack_optical(np.array([1500, 0, 0, 65535]).reshape(4, 1, 1) * [[[1, 0]]]).ravel().tolist()
    [-32768, -32768, -32768, -32768, -32768, -32768, -32768, -32768]
    >>> pack_optical(np.array([1500, 1400, 1300, 990]).reshape(4, 1, 1), offset=1000).ravel().tolist()
    [500, 400, 300, -10]
    """
    no_data = (counts == 0).any(0) if offset else (counts == 0).all(0)
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(counts).all(0) & (np.abs(counts) <= LARGEST).all(0) & ~no_data
    return np.where(valid, np.rint(np.where(valid, counts, 0)) - offset * valid, MISSING).astype(np.int16)


def scene_of(name: str) -> str:
    """Returns the scene that the name of a tile tells: the name without a row and a column at its end.

    A name that does not end in two numbers is a scene of its own.

    >>> scene_of("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57")
    'S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP'
    >>> scene_of("field")
    'field'
    """
    match = re.fullmatch(r"(.+?)_\d{1,5}_\d{1,5}", name)
    return match[1] if match else name
