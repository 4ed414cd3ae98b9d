"""Which validation and test chains are of a family that training never saw."""

from collections.abc import Mapping

import torch
from torch import Tensor

from partoken.protein.dataset.assembly import ChainDataset

__all__ = ["count_families", "describe_families", "mark_seen"]


def mark_seen(families: Mapping[int, str], datasets: Mapping[str, ChainDataset]) -> dict[str, Tensor]:
    """Marks the chains of each split by whether a training chain, of whatever label, is of their family.

    Arguments:
        families: family of each chain that has one, by row of the store.
        datasets: the chains in use, by split.

    Returns:
        int8 [n] for each split: 1 for a chain of a seen family, 0 for one of an unseen family, -1 for one without.
    """
    of_chains = {split: [families.get(row) for row in data.rows.tolist()] for split, data in datasets.items()}
    seen = set(of_chains["train"]) - {None}
    return {
        split: torch.tensor([-1 if family is None else family in seen for family in of_split], dtype=torch.int8)
        for split, of_split in of_chains.items()
    }


def count_families(families: Mapping[int, str], datasets: Mapping[str, ChainDataset]) -> dict[str, dict[str, int]]:
    """Counts the validation and test chains of seen and unseen families and those without, for the data report.

    Arguments:
        families: family of each chain that has one, by row of the store.
        datasets: the chains in use, by split.
    """
    kinds = {"seen": 1, "unseen": 0, "without": -1}
    return {
        split: {kind: int((marks == mark).sum()) for kind, mark in kinds.items()}
        for split, marks in mark_seen(families, datasets).items()
        if split != "train"
    }


def describe_families(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Returns the counts of `count_families` as a line for the log.

    >>> describe_families({"test": {"seen": 2, "unseen": 4, "without": 5}})
    'chains of a family without training chains: test 4 of 6 (5 without a family)'
    """
    parts = []
    for split, of_split in counts.items():
        without = f" ({of_split['without']} without a family)" if of_split["without"] else ""
        parts.append(f"{split} {of_split['unseen']} of {of_split['seen'] + of_split['unseen']}{without}")
    return f"chains of a family without training chains: {', '.join(parts)}"
