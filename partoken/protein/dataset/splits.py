"""Which chains are trained on, validated on and tested on."""

from collections.abc import Hashable, Sequence

import numpy as np

from partoken.errors import UserError

__all__ = ["limit_rows", "split_groups"]


def split_groups(
    groups: Sequence[Hashable],
    classes: Sequence[Hashable],
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    *,
    seed: int = 0,
) -> np.ndarray:
    """Deals groups of chains to train, val and test, each class in the given shares as nearly as groups allow.

    The largest group is dealt first. Each goes where it leaves the least sum over splits and classes of
    (dealt - wanted)^2 / size of the class, which is where the class-wise lack, weighted by what the group holds, is
    largest.

    Arguments:
        groups: the group of each of n chains; a group is never divided.
        classes: the class of each chain.
        fractions: shares of train, val and test, which sum to 1.
        seed: of the order among groups of one size.

    Returns:
        0 (train), 1 (val) or 2 (test) for each chain, int64 [n].

    Raises:
        UserError: fractions that are negative or do not sum to 1.

    Example:

    >>> split_groups("aabcde", "xxxxxx", (0.5, 0.25, 0.25)).tolist()[:2]
    [0, 0]
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise UserError(f"data.fractions={list(fractions)}: three shares (train, val, test) that sum to 1 are needed")
    group_of = np.unique(np.array([str(g) for g in groups]), return_inverse=True)[1]
    class_of = np.unique(np.array([str(c) for c in classes]), return_inverse=True)[1]
    content = np.zeros((group_of.max() + 1, class_of.max() + 1))  # chains of each class in each group
    np.add.at(content, (group_of, class_of), 1)
    content = np.column_stack([content, content.sum(1)])  # all chains count as a class of their own
    size = content.sum(0)
    lack = shares[:, None] * size
    order = np.random.default_rng(seed).permutation(len(content))
    order = order[np.argsort(-content[order, -1], kind="stable")]
    split_of_group = np.empty(len(content), dtype=np.int64)
    for group in order:
        choice = int(np.argmax(lack @ (content[group] / size)))
        split_of_group[group] = choice
        lack[choice] -= content[group]
    return split_of_group[group_of]


def limit_rows(splits: np.ndarray, classes: Sequence[Hashable], limit: int, *, seed: int = 0) -> np.ndarray:
    """Chooses a few chains, of every split in its share and of every class in turn.

    Returns:
        Positions of at most about `limit` chains, sorted, int64.
    """
    order = np.random.default_rng(seed).permutation(len(splits))
    taken: list[int] = []
    for split in np.unique(splits):
        turns: dict[Hashable, int] = {}
        members = []
        for position in order[splits[order] == split]:
            turn = turns.get(classes[position], 0)
            turns[classes[position]] = turn + 1
            members.append((turn, len(members), int(position)))
        share = max(1, round(limit * len(members) / len(splits)))
        taken += [position for _, _, position in sorted(members)[:share]]
    return np.array(sorted(taken), dtype=np.int64)
