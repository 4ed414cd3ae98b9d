"""Writes the prediction of an image as its strips arrive: NPZ, PNG and GeoTIFF, each completely or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from partoken.satellite.pictures import true_colour
from partoken.satellite.predict.images import CACHE_MB
from partoken.satellite.predict.windows import Strip
from partoken.satellite.tiles.tile import COUNTS, OPTICAL_BANDS
from partoken.system.files import atomic_path, atomic_write

__all__ = ["NO_DATA", "to_counts", "write_prediction"]

NO_DATA = 0
PROBE = 1 << 16
"""Bytes that are written to learn why a file could not be."""
PREVIEW = 2048
"""Largest height and width of the PNG file; of a larger image it shows every n-th pixel."""

Writer = Callable[[int, np.ndarray], None]
"""Takes the first row of a strip, and its counts, uint16 [4, n, W]."""


def write_prediction(
    path: Path,
    shape: tuple[int, int],
    strips: Iterable[Strip],
    facts: Mapping[str, Any],
    place: Mapping[str, Any] | None,
) -> None:
    """Writes `path` with the suffixes `.npz`, `.png` and, with a place on the ground, `.tif`.

    Arguments:
        path: without suffix; its folder exists.
        shape: height and width.
        strips: of the whole image, from top to bottom.
        facts: more arrays for the NPZ file.
        place: `crs` and `transform` or `gcps`, as rasterio takes them; None writes no GeoTIFF file.
    """
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_npz(_with(path, ".npz"), shape, facts))]
        writers.append(stack.enter_context(_png(_with(path, ".png"), shape)))
        if place is not None:
            writers.append(stack.enter_context(_geotiff(_with(path, ".tif"), shape, place)))
        for strip in strips:
            counts = to_counts(strip.reflectance, strip.valid)
            for write in writers:
                write(strip.start, counts)


def to_counts(reflectance: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Returns reflectance x 10,000; 0 means "no data", so a valid pixel has at least 1.

    Arguments:
        reflectance: float32 [4, n, W].
        valid: bool [n, W].

    Returns:
        uint16 [4, n, W].

    Example:

    >>> to_counts(np.array([[[0.1234, 0.0, 0.5]]]), np.array([[True, True, False]])).tolist()
    [[[1234, 1, 0]]]
    """
    counts = np.clip(np.rint(reflectance * COUNTS), 1, np.iinfo(np.uint16).max)
    return np.where(valid, counts, NO_DATA).astype(np.uint16)


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)  # `with_suffix` would cut a name such as scene.v2


@contextlib.contextmanager
def _npz(path: Path, shape: tuple[int, int], facts: Mapping[str, Any]) -> Iterator[Writer]:
    """Collects each array in a temporary file, because an NPZ file holds one array after the other."""
    with contextlib.ExitStack() as stack:
        names = (*OPTICAL_BANDS, "mask")
        files = {name: stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for name in names}

        def write(start: int, counts: np.ndarray) -> None:
            for band, values in zip(OPTICAL_BANDS, counts, strict=True):
                files[band].write(values.tobytes())
            files["mask"].write((counts[0] != NO_DATA).tobytes())

        yield write
        whole = stack.enter_context(atomic_write(path, "wb"))
        archive = stack.enter_context(zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=4))
        for name, file in files.items():
            kind = np.dtype(bool if name == "mask" else np.uint16)
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
            file.seek(0)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_1_0(entry, header)
                shutil.copyfileobj(file, entry, 1 << 20)
        for name, value in facts.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asarray(value), allow_pickle=False)


@contextlib.contextmanager
def _png(path: Path, shape: tuple[int, int]) -> Iterator[Writer]:
    """Writes true colour; pixels without data are transparent."""
    every = -(-max(shape) // PREVIEW)
    rows: list[np.ndarray] = []

    def write(start: int, counts: np.ndarray) -> None:
        seen = counts[:, -start % every :: every, ::every]
        colour = true_colour(seen.astype(np.float32) / COUNTS)
        opaque = (seen[:1] != NO_DATA).transpose(1, 2, 0)
        rows.append(np.rint(255 * np.concatenate([colour, opaque], -1)).astype(np.uint8))

    yield write
    from matplotlib.image import imsave

    with atomic_write(path, "wb") as file:
        imsave(cast(BinaryIO, file), np.concatenate(rows), format="png")


@contextlib.contextmanager
def _geotiff(path: Path, shape: tuple[int, int], place: Mapping[str, Any]) -> Iterator[Writer]:
    """Writes four bands on the grid of the radar; 0 is declared as "no data"."""
    import rasterio

    if "transform" in place:
        place = {**place, "transform": rasterio.Affine(*tuple(place["transform"])[:6])}
    profile = {
        "driver": "GTiff",
        "height": shape[0],
        "width": shape[1],
        "count": len(OPTICAL_BANDS),
        "dtype": "uint16",
        "nodata": NO_DATA,
        "compress": "deflate",
        "predictor": 2,
        "blockysize": 16,
        "BIGTIFF": "IF_SAFER",
        **place,
    }
    with atomic_path(path) as partial, _explain_gdal(partial):
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB * 1_000_000), rasterio.open(partial, "w", **profile) as file:
            file.descriptions = [band.removeprefix("s2_").upper() for band in OPTICAL_BANDS]
            file.scales = [1 / COUNTS] * len(OPTICAL_BANDS)

            def write(start: int, counts: np.ndarray) -> None:
                file.write(counts, window=((start, start + counts.shape[1]), (0, shape[1])))

            yield write
        _check_blocks(partial)


@contextlib.contextmanager
def _explain_gdal(path: Path) -> Iterator[None]:
    """Raises the error of the system where GDAL could not write a file; GDAL's own names no cause.

    Raises:
        OSError: naming the file.
    """
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        with open(path, "ab") as file:  # a disk that was full still is
            file.write(bytes(PROBE))
        raise OSError(errno.EIO, f"GDAL cannot write it ({error})", os.fspath(path)) from error


def _check_blocks(path: Path) -> None:
    """Checks that a GeoTIFF file holds all its blocks: GDAL is silent if the disk is full when it closes the file.

    Raises:
        RasterioError: a block is missing, or the file cannot be opened.
    """
    import rasterio
    from rasterio.errors import RasterioIOError

    size = path.stat().st_size
    with rasterio.open(path) as file:
        for band in file.indexes:
            for (row, column), _ in file.block_windows(band):
                place, length = (
                    int(file.get_tag_item(f"BLOCK_{name}_{column}_{row}", "TIFF", bidx=band) or 0)
                    for name in ("OFFSET", "SIZE")
                )
                if not length or place + length > size:
                    raise RasterioIOError(f"the block at row {row}, column {column} of band {band} is missing")
