"""A small part of a data set, for a quick run."""

from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["limit_rows"]


def limit_rows(splits: np.ndarray, kinds: Sequence[Hashable], limit: int, *, seed: int = 0) -> np.ndarray:
    """Chooses a few rows for `data.limit`: from each split in proportion to its size, from its kinds in turn.

    Arguments:
        splits: split of each of n rows, int64 [n].
        kinds: class or group of each row.
        limit: approximate number of rows; each split keeps at least one.
        seed: seed of the choice.

    Returns:
        Positions of the chosen rows, int64, sorted.
    """
    order = np.random.default_rng(seed).permutation(len(splits))
    chosen: list[int] = []
    for split in np.unique(splits):
        next_turn: dict[Hashable, int] = {}
        members: list[tuple[int, int, int]] = []  # turn of its kind, order of drawing, position
        for position in order[splits[order] == split]:
            turn = next_turn.get(kinds[position], 0)
            next_turn[kinds[position]] = turn + 1
            members.append((turn, len(members), int(position)))
        count = max(1, round(limit * len(members) / len(splits)))
        chosen += [position for _, _, position in sorted(members)[:count]]
    return np.array(sorted(chosen), dtype=np.int64)
