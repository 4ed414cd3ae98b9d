"""From the tiles of a source to a data set for each split."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset

from partoken.errors import UserError
from partoken.satellite.dataset.augmentation import augment, crop_centre
from partoken.satellite.dataset.folder import TileCollection
from partoken.satellite.dataset.options import TileOptions
from partoken.satellite.dataset.splits import SPLITS, split_scenes
from partoken.satellite.dataset.stage1 import Stage1Outputs
from partoken.satellite.tiles.batch import TileBatch, collate
from partoken.satellite.tiles.store import TileStore
from partoken.satellite.tiles.tile import TileInfo
from partoken.system.skipped import Skipped
from partoken.training.limit import limit_rows

__all__ = ["Selection", "TileDataset", "build_datasets", "check_offsets", "select_tiles", "wrong_sizes"]


class TileDataset(Dataset[TileBatch]):
    """The tiles of one split. An item is a whole batch; its index is a list of (position, number of the pass).

    Arguments:
        store: tiles of all splits.
        rows: rows of the store that belong to the split.
        crop: side of the square to cut out; None: whole tiles.
        turn: flips and turns tiles in passes of training.
        seed: seed of crops, flips and turns.
    """

    def __init__(
        self, store: TileStore, rows: Sequence[int], *, crop: int | None = None, turn: bool = True, seed: int = 0
    ) -> None:
        self.store = store
        self.rows = list(rows)
        self.crop = crop
        self.turn = turn
        self.seed = seed
        self.stage1: Stage1Outputs | None = None
        """Stored outputs of stage 1, which are then part of each tile."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def infos(self) -> list[TileInfo]:
        """What is known of each tile."""
        return [self.store.infos[row] for row in self.rows]

    def __getitem__(self, batch: Sequence[tuple[int, int]]) -> TileBatch:
        tiles = self.store.read(self.rows[position] for position, _ in batch)
        shown = []
        for tile, (_, number) in zip(tiles, batch, strict=True):
            if self.stage1 is not None:
                tile = replace(tile, stage1=self.stage1.read(tile.info.id, tile.info.shape))
            if number >= 0:
                tile = augment(tile, seed=self.seed, pass_number=number, crop=self.crop, turn=self.turn)
            elif self.crop is not None:
                tile = crop_centre(tile, self.crop)
            shown.append(tile)
        return collate(shown, getattr(batch, "share", None))


@dataclass(frozen=True)
class Selection:
    """The n tiles that a run uses, and the reasons why others are left out."""

    rows: list[int]
    """[n]: rows of the store."""
    splits: np.ndarray
    """int64 [n]: 0 for train, 1 for val, 2 for test."""
    kind: str
    """"given" or "scene"."""
    without_split: int
    """Number of tiles in no split."""
    over_limit: int
    """Number of tiles left out by `data.limit`."""


def wrong_sizes(store: TileStore, crop: int | None) -> list[Skipped]:
    """Returns the tiles that cannot be in one batch with the others, because of their size."""
    shapes = Counter(info.shape for info in store.infos)
    if not shapes:
        return []
    usual = shapes.most_common(1)[0][0]
    found = []
    for info in store.infos:
        height, width = info.shape
        if crop is None and info.shape != usual:
            reason = f"{height} x {width} pixels, but most tiles have {usual[0]} x {usual[1]}; set data.crop"
        elif crop is not None and min(info.shape) < crop:
            reason = f"{height} x {width} pixels are smaller than data.crop={crop}"
        else:
            continue
        found.append(Skipped(info.id, info.file, reason))
    return found


def check_offsets(infos: Sequence[TileInfo], assumed: int | None) -> None:
    """Checks that all tiles were read with one offset.

    Arguments:
        infos: the tiles.
        assumed: `data.s2_offset`.

    Raises:
        UserError: some tiles carry an offset and others do not, or, with None, only some say.
    """
    first: dict[tuple[int, bool], str] = {}
    for info in infos:
        first.setdefault((info.offset, info.offset_stated), info.file or info.id)
    if len({offset for offset, _ in first}) > 1:
        with_one, without = (next(file for (o, _), file in first.items() if o == offset) for offset in (1000, 0))
        raise UserError(
            f"{with_one} carries the optical offset 1000 and {without} does not: convert "
            "all tiles in the same way, because a mixture looks like a change of brightness"
        )
    if assumed is None and len(first) > 1:
        stating = next(file for (_, stated), file in first.items() if stated)
        silent = next(file for (_, stated), file in first.items() if not stated)
        raise UserError(
            f"{stating} states its optical offset and {silent} does not: "
            "set data.s2_offset to 0 or 1000 for the tiles that do not"
        )


def select_tiles(collection: TileCollection, left_out: Sequence[Skipped], options: TileOptions, seed: int) -> Selection:
    """Chooses the splits and applies `data.limit`.

    Arguments:
        collection: the tiles of a source.
        left_out: tiles that were read and cannot be used.
        options: the options of `data`.
        seed: seed of the splits and of the limit.

    Raises:
        UserError: the tiles have no splits of their own, or the options name a scene that does not exist.
    """
    excluded = {item.id for item in left_out}
    kept = [row for row, info in enumerate(collection.store.infos) if info.id not in excluded]
    infos = [collection.store.infos[row] for row in kept]
    has_splits = any(info.split for info in infos)
    kind = options.split or ("given" if has_splits and not options.names_scenes else "scene")
    if kind == "given":
        if not has_splits:
            raise UserError(
                "data.split=given: no tile has a split; put tiles into train, val and test folders, write split into "
                "their JSON files, or set data.split=scene"
            )
        splits = np.array([SPLITS.index(info.split) if info.split else -1 for info in infos], dtype=np.int64)
    else:
        scenes = [info.scene for info in infos]
        named = {"val_scenes": options.val_scenes, "test_scenes": options.test_scenes}
        splits = split_scenes(scenes, options.fractions, seed=seed, **named)
    used = np.flatnonzero(splits >= 0)
    over_limit = 0
    if options.limit is not None:
        chosen = limit_rows(splits[used], [infos[i].scene for i in used], options.limit, seed=seed)
        over_limit = len(used) - len(chosen)
        used = used[chosen]
    return Selection(
        rows=[kept[i] for i in used],
        splits=splits[used],
        kind=kind,
        without_split=int((splits < 0).sum()),
        over_limit=over_limit,
    )


def build_datasets(
    store: TileStore, selection: Selection, options: TileOptions, seed: int = 0
) -> dict[str, TileDataset]:
    """Creates the data set of each split and checks that none is empty.

    Arguments:
        store: tiles of all splits.
        selection: the tiles to use.
        options: the options of `data`.
        seed: seed of crops, flips and turns.

    Raises:
        UserError: a split is empty.
    """
    rows = {split: [selection.rows[i] for i in np.flatnonzero(selection.splits == s)] for s, split in enumerate(SPLITS)}
    empty = [split for split, members in rows.items() if not members]
    if empty:
        scenes = len({store.infos[row].scene for row in selection.rows})
        sizes = ", ".join(f"{split} {len(members)}" for split, members in rows.items())
        raise UserError(
            f"the split {' and '.join(empty)} has no tile (tiles: {sizes}; scenes: {scenes}). "
            "A scene is never divided: give tiles of three scenes or more, name scenes with data.val_scenes and "
            "data.test_scenes, or give splits"
        )
    return {
        split: TileDataset(store, members, crop=options.crop, turn=options.augment, seed=seed)
        for split, members in rows.items()
    }
