"""Finds and reads the tiles of a folder."""

import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from partoken.errors import UserError
from partoken.satellite.tiles.reading import SPLIT_NAMES, Units, read_tile
from partoken.satellite.tiles.store import TileStore
from partoken.satellite.tiles.tile import BadTile, Tile, TileInfo
from partoken.system.parallel import map_parallel
from partoken.system.skipped import Skipped

__all__ = ["TileCollection", "find_tiles", "read_folder"]


@dataclass
class TileCollection:
    """The tiles of a source, before splits are chosen."""

    store: TileStore
    skipped: list[Skipped] = field(default_factory=list)
    """Files that are not used, with the reason for each."""
    num_inputs: int = 0
    """Number of files found."""


def read_folder(
    root: str | os.PathLike[str],
    units: Units,
    *,
    memory_limit: int | None = None,
    workers: int | None = None,
) -> TileCollection:
    """Reads and checks every tile of a folder.

    Arguments:
        root: the folder; its `.npz` files at any depth. Files below `train/`, `val/` and `test/` have that split.
        units: what the values are.
        memory_limit: bytes of pixels to keep in memory; None: all.
        workers: number of processes that read files; None takes all cores for many files.

    Raises:
        UserError: the folder is missing or has no tile.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder")
    names = find_tiles(root)
    if not names:
        raise UserError(
            f"data.root={root} holds no tile: no file at any depth ends in .npz; "
            "`python -m partoken.satellite.convert` makes tiles of GeoTIFFs"
        )
    read_one = partial(_read_or_skip, root=root, units=units)
    store = TileStore(partial(_read_again, root=root, units=units), memory_limit=memory_limit)
    collection = TileCollection(store, num_inputs=len(names))
    killed = partial(_skip, reason="reading it killed the process")
    for result in map_parallel(read_one, names, when_killed=killed, description="reading tiles", workers=workers):
        if isinstance(result, Skipped):
            collection.skipped.append(result)
        else:
            store.add(result)
    return collection


def find_tiles(root: Path) -> list[str]:
    """Returns the NPZ files in a folder at any depth, relative to it, sorted; hidden files and folders are left out."""
    found: list[str] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        visible = sorted(n for n in names if n.lower().endswith(".npz") and not n.startswith("."))
        found += [Path(folder, name).relative_to(root).as_posix() for name in visible]
    return found


def _read_or_skip(name: str, root: Path, units: Units) -> Tile | Skipped:
    try:
        return _with_folder_split(read_tile(root / name, name=name, units=units))
    except BadTile as error:
        return _skip(name, str(error))


def _skip(name: str, reason: str) -> Skipped:
    return Skipped("", name, reason)


def _with_folder_split(tile: Tile) -> Tile:
    """Gives a tile the split of its folder."""
    first, slash, _ = tile.info.file.partition("/")
    split = SPLIT_NAMES.get(first.lower()) if slash else None
    if split is None:
        return tile
    if tile.info.split not in ("", split):
        raise BadTile(f"split={tile.info.split} in its own file, but it is in the folder {first}")
    return replace(tile, info=replace(tile.info, split=split))


def _read_again(info: TileInfo, root: Path, units: Units) -> Tile:
    return read_tile(root / info.file, name=info.file, units=units)
