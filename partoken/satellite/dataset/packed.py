"""Tiles of one size in one NPZ file, packed, with a CSV table beside it: the form in which tiles ship with the package.

The NPZ file holds `s1` int16 [n, 2, H, W] and `s2` int16 [n, 4, H, W] as `tiles.tile.Tile` describes them. The table
has a row per tile, in the same order: `id,scene,split,month`, and further columns for people.
"""

import os
from pathlib import Path

import numpy as np

from partoken.satellite.dataset.folder import TileCollection
from partoken.satellite.tiles.store import TileStore
from partoken.satellite.tiles.tile import Tile, TileInfo, make_tile
from partoken.system.tables import read_table

__all__ = ["read_packed"]


def read_packed(path: str | os.PathLike[str]) -> TileCollection:
    """Reads the tiles of an NPZ file and its table.

    Arguments:
        path: the NPZ file; the table has the same name with the suffix `.csv`.
    """
    rows = read_table(Path(path).with_suffix(".csv"))
    with np.load(path) as file:
        s1, s2 = file["s1"], file["s2"]
    assert len(rows) == len(s1) == len(s2), "the table and the arrays are of different tiles"
    store = TileStore()
    for i, row in enumerate(rows):
        store.add(_tile(row, s1[i], s2[i]))
    return TileCollection(store, num_inputs=len(store))


def _tile(row: dict[str, str], s1: np.ndarray, s2: np.ndarray) -> Tile:
    info = TileInfo(
        id=row["id"],
        scene=row["scene"],
        shape=(0, 0),
        split=row["split"],
        month=int(row["month"]),
        offset_stated=True,
    )
    return make_tile(info, s1, s2)
