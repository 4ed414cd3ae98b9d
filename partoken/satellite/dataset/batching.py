"""Batches of tiles, reproducible on any number of devices."""

import math
from collections.abc import Iterator

import numpy as np

from partoken.errors import UserError
from partoken.system.distributed import Rows
from partoken.training.resume import DealtBatch, ResumableSampler

__all__ = ["TileSampler", "count_batches"]


class TileSampler(ResumableSampler):
    """Yields the batches of an epoch as lists of (position of the tile, number of the pass).

    A pass has every tile once. Passes are counted from 0 over the whole training, and the number of the pass decides
    how a tile is flipped, turned and cut, so that a resumed epoch repeats the interrupted one. An evaluation has one
    pass, number -1.

    With W devices, the W batches of a step are the parts of one large batch, and each part knows its place in it
    (`DealtBatch`). The large batches are those of one device with W times the `batch_size`, in the same order.

    Arguments:
        num_tiles: number of tiles.
        batch_size: largest number of tiles in a batch.
        passes_per_epoch: passes over the tiles in an epoch.
        shuffle: False keeps the order of the tiles, for evaluation.
        seed: seed of the order.
        world_size: number of devices; each has the same number of batches.
        rank: index of this device, 0 to `world_size` - 1.

    Raises:
        UserError: there are fewer tiles than devices.
    """

    def __init__(
        self,
        num_tiles: int,
        *,
        batch_size: int,
        passes_per_epoch: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(num_tiles, shuffle=shuffle, seed=seed, world_size=world_size, rank=rank)
        self.num_tiles = num_tiles
        self.passes_per_epoch = passes_per_epoch
        self.num_batches = count_batches(num_tiles, batch_size, passes_per_epoch, world_size)

    def __len__(self) -> int:
        return self.num_batches // self.num_replicas

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        items = []
        for i in range(self.passes_per_epoch):
            number = self.epoch * self.passes_per_epoch + i if self.shuffle else -1
            items += [(position, number) for position in self._order(number)]
        ends = np.linspace(0, len(items), len(self) + 1).round().astype(int)
        return iter([self._own_part(items[ends[b] : ends[b + 1]]) for b in range(self.start, len(self))])

    def _own_part(self, large: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Returns this device's part of a large batch, with its place if there are several."""
        if self.num_replicas == 1:
            return large
        ends = [part[-1] + 1 for part in np.array_split(range(len(large)), self.num_replicas)]
        start, end = [0, *ends][self.rank : self.rank + 2]
        return DealtBatch(large[start:end], Rows(start, len(large)))

    def _order(self, number: int) -> list[int]:
        order = np.arange(self.num_tiles)
        if self.shuffle:
            np.random.default_rng((self.seed, number)).shuffle(order)
        return [int(position) for position in order]


def count_batches(num_tiles: int, batch_size: int, passes_per_epoch: int = 1, world_size: int = 1) -> int:
    """Returns the number of batches of an epoch on all devices together, a multiple of `world_size`.

    Raises:
        UserError: there are fewer tiles than devices.

    >>> count_batches(10, batch_size=4), count_batches(10, batch_size=4, world_size=2)
    (3, 4)
    """
    items = num_tiles * passes_per_epoch
    if items < world_size:
        raise UserError(f"{items} tiles are too few for {world_size} devices: lower trainer.devices, or use more tiles")
    for_each = math.ceil(items / (batch_size * world_size))
    return min(for_each, items // world_size) * world_size
