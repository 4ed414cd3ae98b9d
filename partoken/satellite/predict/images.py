"""Reads radar images window by window."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from partoken.satellite.predict.sources import Source
from partoken.satellite.tiles.reading import DAMAGE, Units, read_tile
from partoken.satellite.tiles.tile import BadTile, pack_radar
from partoken.satellite.tiles.units import as_decibel, check_radar

__all__ = ["CACHE_MB", "GeoTiffImage", "TileImage", "open_image"]

CACHE_MB = 64
"""Megabytes of a GeoTIFF file that GDAL may keep in memory."""
SAMPLES = 8
"""Units are checked on windows at SAMPLES x SAMPLES places of a GeoTIFF file."""
SAMPLE_SIDE = 64
SMALLEST = 16
"""Smallest height and width in pixels."""
MAX_SEARCH = 2048
"""Pixels along each side of the coarse view that is read if no sample has valid radar."""


@dataclass(frozen=True, eq=False)
class TileImage:
    """The radar of an NPZ tile, in memory."""

    s1: np.ndarray
    """Packed radar, int16 [2, H, W]."""
    month: int = 0
    """1 to 12; 0: unknown."""
    biome: int = -1
    """0 to 15; -1: unknown."""
    place: Mapping[str, Any] = field(default_factory=dict)
    """`crs` and `transform`, as rasterio takes them; empty: unknown."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.s1.shape[1:]
        return height, width

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns packed radar, int16 [2, h, w]."""
        return self.s1[:, rows, columns]


class GeoTiffImage:
    """The radar of GeoTIFF files, read when a window is asked for.

    Arguments:
        bands: rasterio's data set and the number of the band, for VV and VH.
        units: of the values: "db" or "linear".

    Raises:
        BadTile: the values have other units, or the bands do not fit each other.
    """

    month, biome = 0, -1

    def __init__(self, bands: list[tuple[Any, int]], units: str) -> None:
        self.bands = bands
        self.units = units
        first, second = (dataset for dataset, _ in bands)
        if first.shape != second.shape or first.transform != second.transform or first.crs != second.crs:
            raise BadTile(f"VV and VH lie on different grids: {_grid(first)} and {_grid(second)}")
        self.shape: tuple[int, int] = first.shape
        if min(self.shape) < SMALLEST:
            height, width = self.shape
            raise BadTile(f"{height} x {width} pixels: at least {SMALLEST} x {SMALLEST} are needed")
        points, system = first.gcps
        self.place = {"gcps": points, "crs": system} if points else {"crs": first.crs, "transform": first.transform}
        check_radar(self._sample(), units)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns packed radar, int16 [2, h, w].

        Raises:
            BadTile: the file is damaged.
        """
        values = self._values((columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start))
        return pack_radar(as_decibel(values, self.units))

    def _values(self, window: tuple[int, int, int, int], side: int | None = None) -> np.ndarray:
        """Reads VV and VH, float32 [2, h, w]; NaN where the file says "no data".

        Arguments:
            window: first column and row, width and height.
            side: largest side of a coarse view; None: the pixels themselves.
        """
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        shape = None if side is None else (min(side, window[3]), min(side, window[2]))
        try:
            read = [dataset.read(b, window=Window(*window), masked=True, out_shape=shape) for dataset, b in self.bands]
        except RasterioError as error:
            raise BadTile(f"damaged ({type(error).__name__})") from None
        return np.stack([np.ma.filled(values.astype(np.float32), np.nan) for values in read])

    def _sample(self) -> np.ndarray:
        """Returns values from all parts of the image, float32 [2, n]."""
        height, width = self.shape
        sides = min(SAMPLE_SIDE, height), min(SAMPLE_SIDE, width)
        rows = np.unique(np.linspace(0, height - sides[0], SAMPLES).astype(int))
        columns = np.unique(np.linspace(0, width - sides[1], SAMPLES).astype(int))
        windows = [(int(column), int(row), sides[1], sides[0]) for row in rows for column in columns]
        found = np.concatenate([self._values(window).reshape(2, -1) for window in windows], 1)
        if (np.isfinite(found) & (found != 0)).any():
            return found
        return self._values((0, 0, width, height), MAX_SEARCH).reshape(2, -1)


@contextlib.contextmanager
def open_image(source: Source, units: str) -> Iterator[TileImage | GeoTiffImage]:
    """Opens an image.

    Arguments:
        source: its files.
        units: of the radar: "db" or "linear".

    Raises:
        BadTile: the image cannot be used.
    """
    if not source.is_geotiff:
        yield _open_tile(source.files[0], units)
        return
    with contextlib.ExitStack() as stack:
        yield GeoTiffImage(_open_bands(source, stack), units)


def _open_tile(path: Path, units: str) -> TileImage:
    tile = read_tile(path, units=Units(s1_units=units), optical=False)
    try:
        with np.load(path, allow_pickle=False) as file:
            known = {name: file[name] for name in ("crs", "transform") if name in file.files}
    except DAMAGE as error:
        raise BadTile(f"crs or transform is damaged ({type(error).__name__})") from None
    place: dict[str, Any] = {}
    if known.keys() == {"crs", "transform"}:
        if known["transform"].shape != (6,) or known["transform"].dtype.kind not in "iuf":
            raise BadTile("transform must hold the six numbers (a, b, c, d, e, f)")
        place = {"crs": str(known["crs"]), "transform": tuple(map(float, known["transform"]))}
    return TileImage(tile.s1, tile.info.month, tile.info.biome, place)


def _open_bands(source: Source, stack: contextlib.ExitStack) -> list[tuple[Any, int]]:
    """Opens the files of a source, and returns the data set and number of the bands VV and VH."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_MB * 1_000_000))
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # then the prediction has no place on the ground either
    datasets = []
    for path in source.files:
        if not path.is_file():
            raise BadTile("no such file")
        try:
            datasets.append(stack.enter_context(rasterio.open(path)))
        except RasterioError as error:
            raise BadTile(f"{path.name} is damaged, or no GeoTIFF file ({type(error).__name__})") from None
    if len(datasets) == 2:
        for dataset in datasets:
            if dataset.count != 1:
                raise BadTile(f"{Path(dataset.name).name} has {dataset.count} bands: a file of VV or VH has one")
        return [(dataset, 1) for dataset in datasets]
    named = {str(text).strip().lower(): b for b, text in enumerate(datasets[0].descriptions, 1) if text}
    if {"vv", "vh"} <= named.keys():
        return [(datasets[0], named["vv"]), (datasets[0], named["vh"])]
    if datasets[0].count != 2:
        raise BadTile(
            f"{datasets[0].count} bands without the descriptions VV and VH: must be two, VV and VH, "
            "or two files NAME_VV.tif and NAME_VH.tif"
        )
    return [(datasets[0], 1), (datasets[0], 2)]


def _grid(dataset: Any) -> str:
    height, width = dataset.shape
    return f"{height} x {width} pixels from ({dataset.transform.c:g}, {dataset.transform.f:g}) in {dataset.crs}"
