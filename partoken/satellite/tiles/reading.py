"""Reads a tile from an NPZ file, with a JSON file of the same name beside it if there is one.

The NPZ file holds six arrays [H, W]: `s1_vv` and `s1_vh`, radar in dB, and `s2_b2`, `s2_b3`, `s2_b4` and `s2_b8`,
reflectance x 10,000. Either file may hold these facts about the tile:

- `month`: 1 to 12.
- `biome_code`: 0 to 15.
- `scene`: name of the scene; without it the name of the file tells the scene, see `tile.scene_of`.
- `split`: train, val or test.
- `s2_offset`: the offset that the optical counts still carry, 0 or 1000.

Other arrays and keys are for other programs and stay unread.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from partoken.errors import UserError, check_choice, did_you_mean
from partoken.satellite.tiles.tile import (
    MISSING,
    OPTICAL_BANDS,
    RADAR_BANDS,
    BadTile,
    Tile,
    TileInfo,
    make_tile,
    pack_optical,
    pack_radar,
    scene_of,
)
from partoken.satellite.tiles.units import RADAR_UNITS, check_optical, check_subtracted, to_decibel
from partoken.system.packed import check_unpacked_size
from partoken.system.user_files import open_regular

__all__ = ["OFFSETS", "Units", "read_tile", "split_name", "tile_of_arrays"]

OFFSETS = (0, 1000)
"""Offsets of Sentinel-2 products: 1000 from processing baseline 04.00 on."""
SMALLEST = 16
"""Smallest height and width in pixels."""
FACTS = ("month", "biome_code", "scene", "split", "s2_offset")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
DAMAGE = (OSError, ValueError, EOFError, KeyError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for a file that is damaged or of another kind."""


@dataclass(frozen=True)
class Units:
    """What the values of a data set are where its files do not say.

    Raises:
        UserError: a value is not one of the choices.
    """

    s1_units: str = "db"
    """Units of the radar: `RADAR_UNITS`."""
    s2_offset: int | None = None
    """Offset of the optical counts in tiles that do not state it: 0 or 1000. None: it is 0, and either all tiles or
    none must state it."""

    def __post_init__(self) -> None:
        check_choice("data.s1_units", self.s1_units, RADAR_UNITS)
        if self.s2_offset is not None and (isinstance(self.s2_offset, bool) or self.s2_offset not in OFFSETS):
            raise UserError(f"data.s2_offset={self.s2_offset}: choose 0, 1000 or null")

    @property
    def assumed_offset(self) -> int:
        """Offset of tiles that do not state theirs."""
        return self.s2_offset or 0


def read_tile(
    path: str | os.PathLike[str], *, name: str | None = None, units: Units | None = None, optical: bool = True
) -> Tile:
    """Reads and checks a tile.

    Arguments:
        path: the NPZ file.
        name: name of the file in its data set, with folders; None: the file's own name.
        units: what the values are; None: radar in dB, and counts as the tile says.
        optical: False leaves the optical bands unread, for prediction; all optical pixels are missing then.

    Raises:
        BadTile: the tile cannot be used.
    """
    path = Path(path)
    name = name or path.name
    return tile_of_arrays(_load(path), _load_json(path), name=name, units=units or Units(), optical=optical)


def tile_of_arrays(
    arrays: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
    *,
    name: str,
    units: Units,
    optical: bool = True,
) -> Tile:
    """Checks the content of a tile's files and packs it; the arguments are as for `read_tile`.

    Raises:
        BadTile: the tile cannot be used.
    """
    _check_bands(arrays, [*RADAR_BANDS, *OPTICAL_BANDS] if optical else [*RADAR_BANDS])
    known = _facts(arrays, facts)
    stated = _whole(known, "s2_offset", OFFSETS, "0 or 1000")
    offset = units.assumed_offset if stated is None else stated
    radar = np.stack([arrays[band] for band in RADAR_BANDS]).astype(np.float32)
    s1 = pack_radar(to_decibel(radar, units.s1_units))
    s2 = np.full((len(OPTICAL_BANDS), *s1.shape[1:]), MISSING, np.int16)
    if optical:
        counts = np.stack([arrays[band] for band in OPTICAL_BANDS]).astype(np.float32)
        check_optical(counts)
        check_subtracted(counts, offset)
        s2 = pack_optical(counts, offset)
    stem = Path(name).with_suffix("")
    info = TileInfo(
        id=stem.as_posix(),
        scene=str(known.get("scene") or scene_of(stem.name)),
        shape=(0, 0),
        file=name,
        split=split_name(known["split"]) if known.get("split") else "",
        month=_whole(known, "month", range(1, 13), "1 to 12") or 0,
        biome=-1 if (biome := _whole(known, "biome_code", range(16), "0 to 15")) is None else biome,
        offset=offset,
        offset_stated=stated is not None,
    )
    tile = make_tile(info, s1, s2)
    if tile.info.missing_radar == s1[0].size:
        raise BadTile("every radar pixel is missing")
    if optical and tile.info.missing_optical == s1[0].size:
        raise BadTile("every optical pixel is missing")
    return tile


def split_name(value: object) -> str:
    """Returns train, val or test for a name of a split.

    Raises:
        BadTile: the name is another one.

    >>> split_name("Validation")
    'val'
    """
    name = SPLIT_NAMES.get(str(value).strip().lower())
    if name is None:
        raise BadTile(f"split={value}: must be train, val or test")
    return name


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        # NumPy leaves a damaged file open if it opens the file itself.
        with open_regular(path) as raw:
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise BadTile("not an NPZ file: it holds a single array")
            with file:
                _check_size(file)
                names = [name for name in file.files if name in (*RADAR_BANDS, *OPTICAL_BANDS, *FACTS)]
                others = [name for name in file.files if name not in names]
                found = {name: file[name] for name in names}
    except BadTile:
        raise
    except FileNotFoundError:
        raise BadTile("no such file") from None
    except DAMAGE as error:
        raise BadTile(f"damaged, or not an NPZ file ({type(error).__name__})") from None
    found.update({name: np.empty(0) for name in others})  # for a message that suggests the right name
    return found


def _check_size(file: np.lib.npyio.NpzFile) -> None:
    assert file.zip is not None, "it is open"
    try:
        check_unpacked_size(file.zip)
    except ValueError as error:
        raise BadTile(str(error)) from None


def _load_json(path: Path) -> dict[str, Any]:
    """Returns the content of the JSON file beside a tile; empty if there is none."""
    try:
        with open_regular(path.with_suffix(".json")) as file:
            content = json.loads(file.read())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise BadTile("the JSON file beside it is damaged") from None
    if not isinstance(content, dict):
        raise BadTile("the JSON file beside it is not a mapping of names to values")
    return content


def _check_bands(arrays: Mapping[str, np.ndarray], bands: list[str]) -> None:
    for band in bands:
        if band not in arrays:
            others = [name for name in arrays if name not in bands]
            raise BadTile(f"no array {band}.{did_you_mean(band, others)}")
        array = arrays[band]
        if array.dtype.kind not in "iuf":
            raise BadTile(f"{band} holds no numbers but {array.dtype}")
        if array.ndim != 2:
            raise BadTile(f"{band} has the shape {_shown(array)}: must be height x width")
    shapes = {band: _shown(arrays[band]) for band in bands}
    if len(set(shapes.values())) > 1:
        raise BadTile(f"the bands differ in shape: {', '.join(f'{band} {shape}' for band, shape in shapes.items())}")
    if min(arrays[bands[0]].shape) < SMALLEST:
        raise BadTile(f"{_shown(arrays[bands[0]])} pixels: at least {SMALLEST} x {SMALLEST} are needed")


def _shown(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "of a single number"


def _facts(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the facts of both files, which must agree."""
    found = {}
    for name in FACTS:
        values = []
        if name in arrays:
            if arrays[name].size != 1:
                raise BadTile(f"{name} has the shape {_shown(arrays[name])}: must be a single value")
            values.append(arrays[name].reshape(()).item())
        if facts.get(name) is not None:
            values.append(facts[name])
        if len(values) == 2 and values[0] != values[1]:
            raise BadTile(f"{name} is {values[0]} in the NPZ file and {values[1]} in the JSON file")
        if values:
            found[name] = values[0]
    return found


def _whole(known: Mapping[str, Any], name: str, allowed: "range | tuple[int, ...]", words: str) -> int | None:
    """Returns a whole number of `known`, None if it is not there."""
    value = known.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value not in allowed:
        raise BadTile(f"{name}={value}: must be {words}")
    return int(value)
