"""Batches of chains, by number of chains or by residues, reproducible on any number of devices."""

import heapq
from collections.abc import Iterator, Sequence

import numpy as np

from partoken.errors import UserError
from partoken.protein.chains.batch import ChainShare
from partoken.system.distributed import Rows
from partoken.training.resume import DealtBatch, ResumableSampler

__all__ = ["BatchSampler", "count_batches", "pack"]

SPREADS = (0.5, 0.25, 0.1, 0.0)
"""Random changes of the lengths, as fractions, that mix the batches between epochs. `BatchSampler` tries them in turn:
smaller changes pack better."""


class BatchSampler(ResumableSampler):
    """Yields the batches of an epoch as lists of positions; each pass over the chains has every chain exactly once.

    A pass takes one epoch or several. Each device has the same number of batches in every epoch, known in advance, so
    step counts are exact. The order depends only on the seed and the epoch, so a resumed epoch has the same order.

    With W devices, the W batches of a step are the parts of one large batch, and each part knows its place in it
    (`DealtBatch`). If batches are filled by number of chains, the large batches are those of one device with W times
    the `batch_size`, in the same order. If they are filled by residues, the batch of each device is packed on its own.

    Arguments:
        lengths: number of residues of each chain, int64 [n].
        batch_size: largest number of chains in a batch if `max_residues` is None.
        max_residues: largest number of residues in a batch; None: batches are filled by number of chains.
        epochs_per_pass: number of epochs that share a pass over the chains.
        shuffle: False keeps the order of the chains, for evaluation.
        seed: seed of the order.
        world_size: number of devices.
        rank: index of this device, 0 to `world_size` - 1.

    Raises:
        UserError: a chain is longer than `max_residues`, or there are too few chains for the devices and epochs.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        batch_size: int,
        max_residues: int | None = None,
        epochs_per_pass: int = 1,
        shuffle: bool = True,
        seed: int = 0,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(len(lengths), shuffle=shuffle, seed=seed, world_size=world_size, rank=rank)
        self.lengths = np.asarray(lengths)
        self.max_residues = max_residues
        self.epochs_per_pass = epochs_per_pass
        self.num_slots = world_size * epochs_per_pass
        self.num_batches = count_batches(self.lengths, batch_size, max_residues, self.num_slots)

    def __len__(self) -> int:
        return self.num_batches // self.num_slots

    def __iter__(self) -> Iterator[list[int]]:
        large = self._batches_of_pass()[self.epoch % self.epochs_per_pass :: self.epochs_per_pass]
        return iter([self._own_part(parts) for parts in large[self.start :]])

    def _own_part(self, parts: Sequence[list[int]]) -> list[int]:
        """Returns this device's part of a large batch, with its place if there are several."""
        if self.num_replicas == 1:
            return parts[0]
        residues = [int(self.lengths[part].sum()) for part in parts]
        chains = [len(part) for part in parts]
        places = (Rows(sum(sizes[: self.rank]), sum(sizes)) for sizes in (chains, residues))
        return DealtBatch(parts[self.rank], ChainShare(*places))

    def _batches_of_pass(self) -> list[list[list[int]]]:
        """Returns the large batches of a pass in order, each as the parts of all devices."""
        order = np.arange(len(self.lengths))
        random = np.random.default_rng((self.seed, self.epoch // self.epochs_per_pass))
        if self.shuffle:
            random.shuffle(order)
        if self.max_residues is None:
            large = np.array_split(order, self.num_batches // self.num_replicas)
            return [[part.tolist() for part in np.array_split(batch, self.num_replicas)] for batch in large]
        batches = self._fill_by_residues(order, random)
        if self.shuffle:
            random.shuffle(batches)
        firsts = range(0, len(batches), self.num_replicas)
        return [batches[first : first + self.num_replicas] for first in firsts]

    def _fill_by_residues(self, order: np.ndarray, random: np.random.Generator) -> list[list[int]]:
        """Fills batches up to `max_residues`, with different chains together in each pass if the limit allows it."""
        assert self.max_residues is not None
        lengths = self.lengths[order]
        for spread in SPREADS if self.shuffle else (0.0,):
            # The longest chain first packs tightly. Random changes of the lengths change which chains meet.
            changed = lengths * (1 + spread * random.random(len(lengths)))
            longest_first = np.argsort(-changed, kind="stable")
            batches, fullest = pack(lengths, self.num_batches, longest_first)
            if fullest <= self.max_residues:
                return [order[batch].tolist() for batch in batches]
        raise AssertionError("count_batches counted too few batches")


def count_batches(lengths: np.ndarray, batch_size: int, max_residues: int | None = None, num_slots: int = 1) -> int:
    """Returns the number of batches of a pass over the chains, a multiple of `num_slots`.

    Arguments:
        lengths: number of residues of each chain, int64 [n].
        batch_size: largest number of chains in a batch if `max_residues` is None.
        max_residues: largest number of residues in a batch.
        num_slots: number of devices times the number of epochs of a pass.

    Raises:
        UserError: a chain is longer than `max_residues`, or there are fewer chains than slots.

    >>> count_batches(np.full(10, 100), batch_size=4)
    3
    >>> count_batches(np.full(10, 100), batch_size=4, max_residues=250, num_slots=2)
    6
    """
    if len(lengths) < num_slots:
        raise UserError(
            f"{len(lengths)} chains are too few for {num_slots} devices and epochs, which need at least one each: "
            "lower data.epochs_per_pass or trainer.devices, or use more chains"
        )
    if max_residues is None:
        count = _round_up(-(-len(lengths) // batch_size), num_slots)
        return min(count, len(lengths) // num_slots * num_slots)
    longest = int(np.max(lengths))
    if longest > max_residues:
        raise UserError(
            f"data.max_residues_per_batch={max_residues}: the longest chain has {longest} residues; "
            f"raise it to {longest} or more, or leave out long chains with data.max_length"
        )
    longest_first = np.argsort(-lengths, kind="stable")
    count = _round_up(-(-int(lengths.sum()) // max_residues), num_slots)
    while pack(lengths, count, longest_first)[1] > max_residues:
        count += num_slots
    if count > len(lengths):
        raise UserError(
            f"data.max_residues_per_batch={max_residues}: {len(lengths)} chains do not fill {count} batches, "
            f"an equal number for each of {num_slots} devices and epochs; raise it"
        )
    return count


def pack(lengths: np.ndarray, num_batches: int, order: Sequence[int] | np.ndarray) -> tuple[list[list[int]], int]:
    """Puts each chain in turn into the batch with the fewest residues.

    With the longest chain first, the fullest batch has at most 4/3 of the best possible number of residues.

    References:
        Graham 1969, Bounds on multiprocessing timing anomalies, SIAM J. Appl. Math. 17, 416.

    Arguments:
        lengths: number of residues of each chain, int64 [n].
        num_batches: number of batches.
        order: order in which the chains are placed.

    Returns:
        The batches, and the number of residues in the fullest.

    >>> pack(np.array([5, 4, 3, 2]), 2, [0, 1, 2, 3])
    ([[0, 3], [1, 2]], 7)
    """
    batches: list[list[int]] = [[] for _ in range(num_batches)]
    emptiest = [(0, 0, b) for b in range(num_batches)]  # residues, chains, batch
    for position in order:
        residues, chains, batch = emptiest[0]
        filled = (residues + int(lengths[position]), chains + 1, batch)
        heapq.heapreplace(emptiest, filled)
        batches[batch].append(int(position))
    return batches, max(residues for residues, _, _ in emptiest)


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
