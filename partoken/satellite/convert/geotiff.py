"""Reads GeoTIFF files with rasterio, an optional package."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from partoken.errors import UserError
from partoken.satellite.tiles.tile import BadTile

__all__ = ["Raster", "RasterReader", "check_rasterio", "read_geotiff"]


@dataclass(frozen=True, eq=False)
class Raster:
    """One band with its place on the ground."""

    values: np.ndarray
    """[H, W]"""
    crs: str = ""
    """Projection as well-known text or `EPSG:32633`; empty: none."""
    transform: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """Six numbers (a, b, c, d, e, f): x = a column + b row + c, y = d column + e row + f."""


RasterReader = Callable[[Path], Raster]
"""Reads the first band of a file; raises `BadTile` if it cannot."""


def check_rasterio() -> None:
    """Checks that rasterio is installed.

    Raises:
        UserError: it is not.
    """
    try:
        import rasterio  # noqa: F401
    except ImportError:
        raise UserError(
            "GeoTIFF files need rasterio: install it with pip install 'partoken[satellite]', in a clone with "
            ".venv/bin/pip install -c constraints.txt -e '.[satellite]'"
        ) from None


def read_geotiff(path: Path) -> Raster:
    """Reads the first band of a GeoTIFF file; pixels that the file marks as "no data" become 0.

    Raises:
        BadTile: the file is missing or damaged.
    """
    import rasterio
    from rasterio.errors import RasterioError

    if not path.is_file():
        raise BadTile(f"no file {path.name}")
    try:
        with rasterio.open(path) as file:
            values = file.read(1)
            no_data = file.nodata
            crs = "" if file.crs is None else str(file.crs.to_string())
            transform = tuple(float(number) for number in file.transform[:6])
    except (RasterioError, ValueError, OSError) as error:
        raise BadTile(f"{path.name} is damaged ({type(error).__name__})") from None
    if no_data is not None and not np.isnan(no_data):
        values = np.where(values == no_data, values.dtype.type(0), values)
    return Raster(values, crs, transform)
