"""Many tiles: their facts in memory, their pixels in memory up to a limit, otherwise read again when needed."""

from collections.abc import Callable, Iterable

import numpy as np

from partoken.errors import UserError
from partoken.satellite.tiles.tile import BadTile, Tile, TileInfo

__all__ = ["TileStore"]


class TileStore:
    """Tiles in the order in which they were added.

    Arguments:
        read_again: reads a tile whose pixels are not in memory; None: all pixels stay in memory.
        memory_limit: bytes of pixels to keep in memory.
    """

    def __init__(
        self, read_again: Callable[[TileInfo], Tile] | None = None, *, memory_limit: int | None = None
    ) -> None:
        self.infos: list[TileInfo] = []
        self.num_bytes = 0
        """Bytes of pixels in memory."""
        self._pixels: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._read_again = read_again
        self._limit = memory_limit if read_again is not None else None

    def __len__(self) -> int:
        return len(self.infos)

    @property
    def num_in_memory(self) -> int:
        """Number of tiles whose pixels are in memory."""
        return len(self._pixels)

    def add(self, tile: Tile) -> None:
        """Adds a tile; keeps its pixels if the limit allows it."""
        size = tile.s1.nbytes + tile.s2.nbytes
        if self._limit is None or self.num_bytes + size <= self._limit:
            self._pixels[len(self.infos)] = (tile.s1, tile.s2)
            self.num_bytes += size
        self.infos.append(tile.info)

    def read(self, rows: Iterable[int]) -> list[Tile]:
        """Returns tiles with their pixels.

        Raises:
            UserError: a file was removed or changed since it was first read.
        """
        return [self._read_one(row) for row in rows]

    def _read_one(self, row: int) -> Tile:
        info = self.infos[row]
        if row in self._pixels:
            return Tile(info, *self._pixels[row])
        assert self._read_again is not None
        try:
            tile = self._read_again(info)
        except BadTile as error:
            raise UserError(f"{info.file} was readable when the run started and is not any more: {error}") from None
        if tile.info.shape != info.shape:
            raise UserError(f"{info.file} changed its shape since the run started: do not write to data.root meanwhile")
        return Tile(info, tile.s1, tile.s2)
