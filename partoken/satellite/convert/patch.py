"""Converts one pair of patches to a tile."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from partoken.satellite.convert.geotiff import Raster, RasterReader
from partoken.satellite.convert.names import optical_name
from partoken.satellite.convert.offset import Offset, find_offset
from partoken.satellite.convert.pairs import Pair
from partoken.satellite.tiles.reading import Units, tile_of_arrays
from partoken.satellite.tiles.tile import LARGEST, BadTile
from partoken.satellite.tiles.units import check_subtracted
from partoken.system.files import atomic_write

__all__ = ["Converted", "convert_patch", "remove_offset"]

RADAR_FILES = {"s1_vv": "VV", "s1_vh": "VH"}
OPTICAL_FILES = {"s2_b2": "B02", "s2_b3": "B03", "s2_b4": "B04", "s2_b8": "B08"}


@dataclass(frozen=True)
class Converted:
    """What became of a pair."""

    name: str
    """Name of the tile."""
    reason: str = ""
    """Why there is no tile; empty: there is one."""
    offset_removed: int = 0
    offset_known: bool = True
    """False if nothing stated the offset."""
    darkest: int = 0
    """Smallest optical count of the product, 0 left out."""


def convert_patch(pair: Pair, path: Path, root: Path, assumed_offset: int, read: RasterReader) -> Converted:
    """Reads the bands of a pair, removes the optical offset, checks the result and writes the tile.

    The tile also holds `crs` and `transform`, so that a prediction can be written as GeoTIFF, and says which offset was
    removed and why.

    Arguments:
        pair: the patches.
        path: the tile to write, completely or not at all.
        root: folder of the data set; metadata above it are not read.
        assumed_offset: offset of a product whose metadata do not state it: 0 or 1000.
        read: reads a raster file.
    """
    try:
        offset = find_offset(pair.optical, root)
        rasters = _read_bands(pair, read)
        removed = assumed_offset if offset.value is None else offset.value
        optical = np.stack([rasters[band].values for band in OPTICAL_FILES])
        content = _content(pair, rasters, remove_offset(optical, removed), offset, removed)
        tile_of_arrays(content, {}, name=path.name, units=Units())
    except BadTile as error:
        return Converted(pair.name, str(error))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, **content)
    valid = optical[optical > 0]
    return Converted(pair.name, "", removed, offset.value is not None, int(valid.min()) if valid.size else 0)


def remove_offset(counts: np.ndarray, offset: int) -> np.ndarray:
    """Subtracts an offset from optical counts; a pixel with a band without data or saturated becomes 0 in all.

    Arguments:
        counts: whole numbers [4, H, W].
        offset: 0 or 1000; 0 returns the counts as they are.

    Returns:
        int32 [4, H, W], or `counts`.

    Raises:
        BadTile: many counts are far below the offset, so they cannot carry it.

    Example:

    >>> pixels = np.array([[1500, 1200, 990, 1000], [1500, 1200, 0, 1000]]).T.reshape(4, 1, 2)
    >>> remove_offset(pixels, offset=1000)[:, 0].tolist()
    [[500, 0], [200, 0], [-10, 0], [0, 0]]
    """
    if not offset:
        return counts
    check_subtracted(counts, offset)
    valid = ((counts != 0) & (counts <= LARGEST)).all(0)
    # A pixel whose bands are all exactly black would read as "no data": it gets the smallest reflectance instead.
    black = valid & (counts == offset).all(0)
    return np.where(valid, counts.astype(np.int32) - offset + black, 0).astype(np.int32)


def _read_bands(pair: Pair, read: RasterReader) -> dict[str, Raster]:
    rasters = {}
    for folder, files in ((pair.radar, RADAR_FILES), (pair.optical, OPTICAL_FILES)):
        for band, suffix in files.items():
            rasters[band] = read(folder / f"{folder.name}_{suffix}.tif")
    shapes = {band: raster.values.shape for band, raster in rasters.items()}
    if len(set(shapes.values())) > 1:
        shown = ", ".join(f"{band} {' x '.join(map(str, shape))}" for band, shape in shapes.items())
        raise BadTile(f"the bands differ in shape: {shown}")
    return rasters


def _content(
    pair: Pair, rasters: dict[str, Raster], optical: np.ndarray, offset: Offset, removed: int
) -> dict[str, Any]:
    name = optical_name(pair.name)
    kind = np.int16 if removed else np.uint16
    limits = np.iinfo(kind)
    place = rasters["s2_b2"]
    content: dict[str, Any] = {band: rasters[band].values.astype(np.float32) for band in RADAR_FILES}
    for band, counts in zip(OPTICAL_FILES, optical, strict=True):
        content[band] = np.clip(counts, limits.min, limits.max).astype(kind)
    if name is not None:
        content["month"] = np.array(name.time.month)
        content["scene"] = np.array(name.scene)
    if pair.split:
        content["split"] = np.array(pair.split)
    content["s2_offset"] = np.array(0)
    content["s2_offset_removed"] = np.array(removed)
    content["s2_baseline"] = np.array(offset.baseline)
    content["s2_offset_source"] = np.array(offset.source or "--s2-offset")
    content["s1_patch"] = np.array(pair.radar.name)
    content["crs"] = np.array(place.crs)
    content["transform"] = np.array(place.transform)
    return content
