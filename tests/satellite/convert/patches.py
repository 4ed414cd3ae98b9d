"""Made BigEarthNet folders for the tests, with a reader that needs no GeoTIFF."""

import json
from pathlib import Path

import numpy as np

from partoken.satellite.convert.geotiff import Raster
from partoken.satellite.tiles.tile import BadTile
from tests.satellite.made_tiles import made_bands

SUFFIX = {"s1_vv": "VV", "s1_vh": "VH", "s2_b2": "B02", "s2_b3": "B03", "s2_b4": "B04", "s2_b8": "B08"}


def read_npy(path: Path) -> Raster:
    """Reads an array that `write_patch` saved under the name of a GeoTIFF file."""
    if not path.is_file():
        raise BadTile(f"no file {path.name}")
    try:
        return Raster(np.load(path), "EPSG:32633", (10.0, 0.0, 600000.0, 0.0, -10.0, 5300000.0))
    except (EOFError, ValueError):
        raise BadTile(f"{path.name} is damaged") from None


def write_patch(folder: Path, bands: dict[str, np.ndarray], partner: str = "") -> Path:
    """Writes the bands of one satellite as the files of a patch; `partner` goes into its JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    for band, values in bands.items():
        with open(folder / f"{folder.name}_{SUFFIX[band]}.tif", "wb") as file:
            np.save(file, values)
    if partner:
        content = {"corresponding_s2_patch": partner, "labels": []}
        (folder / f"{folder.name}_labels_metadata.json").write_text(json.dumps(content))
    return folder


def of(satellite: str, seed: int = 0, offset: int = 0) -> dict[str, np.ndarray]:
    """Returns the bands of one satellite: "s1" or "s2"."""
    bands = made_bands(seed, 24)
    shift = offset if satellite == "s2" else 0
    return {name: values + values.dtype.type(shift) for name, values in bands.items() if name.startswith(satellite)}


def version_1(root: Path, count: int = 3) -> Path:
    """Writes a folder in the layout of version 1."""
    for i in range(count):
        optical = f"S2A_MSIL2A_20170613T101031_{i}_45"
        radar = f"S1B_IW_GRDH_1SDV_20170612T165809_33UUP_{i}_45"
        write_patch(root / "BigEarthNet-v1.0" / optical, of("s2", i))
        write_patch(root / "BigEarthNet-S1-v1.0" / radar, of("s1", i), partner=optical)
    return root


def version_2(root: Path, count: int = 3, baseline: str = "N9999", offset: int = 0) -> Path:
    """Writes a folder in the layout of version 2, without metadata."""
    product = f"S2A_MSIL2A_20170613T101031_{baseline}_R022_T33UUP"
    for i in range(count):
        write_patch(root / "BigEarthNet-S2" / product / f"{product}_26_{i:02}", of("s2", i, offset))
        for day in ("20170612T165809", "20170620T165809"):
            radar = f"S1B_IW_GRDH_1SDV_{day}"
            write_patch(root / "BigEarthNet-S1" / radar / f"{radar}_33UUP_26_{i:02}", of("s1", i))
    return root
