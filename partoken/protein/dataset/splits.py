"""Deals chains to the training, validation and test splits."""

from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["split_groups"]


def split_groups(
    groups: Sequence[Hashable],
    classes: Sequence[Hashable],
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    *,
    seed: int = 0,
) -> np.ndarray:
    """Deals groups of chains to train, val and test, with the given fractions of each class as far as groups allow.

    Groups are dealt from the largest to the smallest. Each group goes to the split that minimises the sum over splits
    and classes of (dealt - wanted)^2 / size of the class. This is the split with the largest sum over classes of the
    missing chains, weighted by the group's fraction of the class.

    Arguments:
        groups: group of each of n chains; a group is never divided.
        classes: class of each chain.
        fractions: fractions of train, val and test, which sum to 1.
        seed: seed of the order among groups of equal size.

    Returns:
        int64 [n]: 0 for train, 1 for val, 2 for test.

    Example:

    >>> split_groups("aabcde", "xxxxxx", (0.5, 0.25, 0.25)).tolist()[:2]
    [0, 0]
    """
    group_of_chain = np.unique(np.array([str(g) for g in groups]), return_inverse=True)[1]
    class_of_chain = np.unique(np.array([str(c) for c in classes]), return_inverse=True)[1]
    content = np.zeros((group_of_chain.max() + 1, class_of_chain.max() + 1))
    np.add.at(content, (group_of_chain, class_of_chain), 1)
    content = np.column_stack([content, content.sum(1)])  # all chains together count as one more class
    class_size = content.sum(0)
    missing = np.asarray(fractions, dtype=float)[:, None] * class_size
    order = np.random.default_rng(seed).permutation(len(content))
    order = order[np.argsort(-content[order, -1], kind="stable")]
    split_of_group = np.empty(len(content), dtype=np.int64)
    for group in order:
        split = int(np.argmax(missing @ (content[group] / class_size)))
        split_of_group[group] = split
        missing[split] -= content[group]
    return split_of_group[group_of_chain]
