"""Overlapping windows of long chains, and batches of windows."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Window", "batches", "cut"]


class Window(NamedTuple):
    """A part of a chain that the model reads at once, and the part of it that is kept."""

    chain: int
    """Number of the chain."""
    start: int
    """First residue that is read."""
    stop: int
    """End of the residues that are read, excluded."""
    first: int
    """First residue that is kept."""
    last: int
    """End of the residues that are kept, excluded."""


def cut(chain: int, length: int, size: int) -> list[Window]:
    """Cuts a chain into windows of `size` residues, or takes it whole if it is not longer.

    Neighbouring windows share at least a quarter of their residues, and each keeps its half of what they share. So
    every residue is kept once, and its window shows at least an eighth of a window on either side of it, unless the
    chain ends there.

    Arguments:
        chain: number of the chain.
        length: its number of residues.
        size: largest number of residues of a window, at least 4.

    >>> [window[1:] for window in cut(0, 20, 12)]
    [(0, 12, 0, 10), (8, 20, 10, 20)]
    """
    if length <= size:
        return [Window(chain, 0, length, 0, length)]
    overlap = size // 4
    count = -(-(length - overlap) // (size - overlap))
    starts = [i * (length - size) // (count - 1) for i in range(count)]
    borders = [0, *((start + before + size) // 2 for before, start in pairwise(starts)), length]
    return [
        Window(chain, start, start + size, first, last)
        for start, (first, last) in zip(starts, pairwise(borders), strict=True)
    ]


def batches(lengths: Sequence[int], size: int, max_residues: int) -> Iterator[list[Window]]:
    """Yields the windows of chains in their order, as many at a time as `max_residues` allow.

    Arguments:
        lengths: number of residues of each chain; best sorted, because shorter windows are padded to the longest.
        size: largest number of residues of a window.
        max_residues: largest number of residues of a batch, padding included; a single window may have more.
    """
    waiting: list[Window] = []
    longest = 0
    for chain, length in enumerate(lengths):
        for window in cut(chain, length, size):
            longest = max(longest, window.stop - window.start)
            if waiting and (len(waiting) + 1) * longest > max_residues:
                yield waiting
                waiting, longest = [], window.stop - window.start
            waiting.append(window)
    if waiting:
        yield waiting
