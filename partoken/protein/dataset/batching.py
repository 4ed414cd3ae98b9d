"""Which chains go together: batches by number of chains or by residues, the same on every run and device."""

import heapq
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import DistributedSampler

from partoken.errors import UserError

__all__ = ["BatchSampler", "count_batches", "pack"]


class BatchSampler(DistributedSampler):
    """Yields the batches of an epoch as lists of row numbers; in a pass every chain is in exactly one batch.

    A pass over the chains is one epoch, or several. Each device has the same number of batches in every epoch, known
    beforehand, so that step counts are exact. The order depends on the seed and the epoch alone: a resumed epoch has
    the order of the epoch that was cut off.
    It is a `DistributedSampler` by type so that Lightning leaves it in place and announces each epoch to it.

    Arguments:
        lengths: residues of each chain, int64 [n].
        batch_size: the most chains a batch, when `max_residues` is None.
        max_residues: the most residues a batch; batches are then filled by residues.
        epochs_per_pass: epochs that share a pass over the chains.
        shuffle: False keeps the chains in order, for evaluation.
        seed: of the order.
        world_size: number of devices.
        rank: which of them this is.

    Raises:
        UserError: a chain longer than `max_residues`, or fewer chains than devices.
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
        super().__init__(lengths, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)
        self.start = 0  # batches of the epoch that have been taken already, for a loader that goes on within it
        self.lengths = np.asarray(lengths)
        self.max_residues = max_residues
        self.epochs_per_pass = epochs_per_pass
        self.num_batches = count_batches(self.lengths, batch_size, max_residues, world_size * epochs_per_pass)

    def __len__(self) -> int:
        return self.num_batches // (self.num_replicas * self.epochs_per_pass)

    def __iter__(self) -> Iterator[list[int]]:
        part = self.epoch % self.epochs_per_pass * self.num_replicas + self.rank
        return iter(self._batches()[part :: self.num_replicas * self.epochs_per_pass][self.start :])

    def _batches(self) -> list[list[int]]:
        """Returns the batches of all devices in a whole pass, in order."""
        order = np.arange(len(self.lengths))
        random = np.random.default_rng((self.seed, self.epoch // self.epochs_per_pass))
        if self.shuffle:
            random.shuffle(order)
        if self.max_residues is None:
            return [part.tolist() for part in np.array_split(order, self.num_batches)]
        batches = self._filled(order, random)
        if self.shuffle:
            random.shuffle(batches)
        return batches

    def _filled(self, order: np.ndarray, random: np.random.Generator) -> list[list[int]]:
        """Fills the batches by residues, with other mates every epoch where the limit allows it."""
        lengths = self.lengths[order]
        for spread in (0.5, 0.25, 0.1, 0.0) if self.shuffle else (0.0,):
            # Longest first packs tightly; to take lengths for something else than they are mixes the mates.
            taken_for = lengths * (1 + spread * random.random(len(lengths)))
            batches, fullest = pack(lengths, self.num_batches, np.argsort(-taken_for, kind="stable"))
            if fullest <= self.max_residues:
                return [order[batch].tolist() for batch in batches]
        raise AssertionError("count_batches counted too few batches")


def count_batches(lengths: np.ndarray, batch_size: int, max_residues: int | None = None, shares: int = 1) -> int:
    """Returns the number of batches of a pass over the chains, a multiple of `shares`.

    Arguments:
        lengths: residues of each chain.
        batch_size: the most chains a batch, when `max_residues` is None.
        max_residues: the most residues a batch.
        shares: devices times epochs that share the pass.

    Raises:
        UserError: a chain longer than `max_residues`, or fewer chains than shares.

    >>> count_batches(np.full(10, 100), batch_size=4)
    3
    >>> count_batches(np.full(10, 100), batch_size=4, max_residues=250, shares=2)
    6
    """
    if len(lengths) < shares:
        found = f"{len(lengths)} chains cannot be shared by {shares} devices and epochs"
        raise UserError(f"{found}: give at least one to each")
    if max_residues is None:
        count = -(-len(lengths) // batch_size)
        return min(_multiple(count, shares), len(lengths) // shares * shares)
    longest = int(np.max(lengths))
    if longest > max_residues:
        raise UserError(
            f"data.max_residues_per_batch={max_residues}: the longest chain has {longest} residues; "
            f"raise it to {longest} or more, or leave long chains out with data.max_length"
        )
    descending = np.argsort(-lengths, kind="stable")
    count = _multiple(-(-int(lengths.sum()) // max_residues), shares)
    while pack(lengths, count, descending)[1] > max_residues:
        count += shares
    if count > len(lengths):
        raise UserError(
            f"data.max_residues_per_batch={max_residues}: {len(lengths)} chains do not fill {count} batches, "
            f"the same number on each of {shares} devices and epochs; raise it"
        )
    return count


def pack(lengths: np.ndarray, num_batches: int, order: Sequence[int]) -> tuple[list[list[int]], int]:
    """Puts chains into batches, each into the one that is emptiest at that moment.

    Longest first, no batch is fuller than 4/3 of the best possible (Graham 1969, Bounds on multiprocessing timing
    anomalies).

    Arguments:
        lengths: residues of each chain.
        num_batches: how many batches.
        order: in which the chains are taken.

    Returns:
        The batches, and the residues of the fullest.

    >>> pack(np.array([5, 4, 3, 2]), 2, [0, 1, 2, 3])
    ([[0, 3], [1, 2]], 7)
    """
    batches: list[list[int]] = [[] for _ in range(num_batches)]
    emptiest = [(0, 0, b) for b in range(num_batches)]  # residues, chains, batch
    for row in order:
        filled, chains, batch = emptiest[0]
        heapq.heapreplace(emptiest, (filled + int(lengths[row]), chains + 1, batch))
        batches[batch].append(int(row))
    return batches, max(filled for filled, _, _ in emptiest)


def _multiple(count: int, of: int) -> int:
    return -(-count // of) * of
