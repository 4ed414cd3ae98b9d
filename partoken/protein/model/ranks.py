"""Ranks of residues within their chain, and the products of ranks that combine several scores into one."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["multiply_ranks", "share_out"]


def multiply_ranks(columns: Sequence[Tensor], ptr: Tensor, present: Tensor) -> Tensor:
    """Multiplies the ranks of residues by several scores; the unit of a score does not matter then.

    The rank of a residue is the fraction of the present residues of its chain with a smaller score, plus half the
    fraction of those with an equal one.

    Arguments:
        columns: The scores, `[N]` each.
        ptr: First residue of each chain, and N, `[B + 1]` int64.
        present: True for residues that count, `[N]` bool.

    Returns:
        The products, `[N]`, 0 for a residue that does not count.

    Example:
        >>> scores, present = torch.tensor([5.0, 9.0, 7.0, 7.0]), torch.ones(4, dtype=torch.bool)
        >>> multiply_ranks([scores], torch.tensor([0, 4]), present)
        tensor([0.1250, 0.8750, 0.5000, 0.5000])
    """
    products = []
    for begin, end in _bounds(ptr):
        is_there = present[begin:end]
        product = torch.ones_like(columns[0][begin:end])
        for column in columns:
            product = product * _rank(column[begin:end], is_there)
        products.append(product)
    return torch.cat(products)


def share_out(scores: Tensor, ptr: Tensor, present: Tensor) -> Tensor:
    """Divides scores by their sum over each chain, float32 `[N]`; 0 for a residue that does not count.

    Arguments:
        scores: The scores, 0 or more, `[N]`.
        ptr: First residue of each chain, and N, `[B + 1]` int64.
        present: True for residues that count, `[N]` bool.
    """
    parts = []
    for begin, end in _bounds(ptr):
        own = scores[begin:end].float() * present[begin:end]
        parts.append(own / own.sum().clamp(min=torch.finfo(own.dtype).tiny))
    return torch.cat(parts)


def _bounds(ptr: Tensor) -> Iterator[tuple[int, int]]:
    return zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True)


def _rank(scores: Tensor, present: Tensor) -> Tensor:
    """Ranks the scores `[L]` of the residues of one chain."""
    _, place, count = scores[present].unique(return_inverse=True, return_counts=True)
    ranks = torch.zeros_like(scores)
    ranks[present] = ((count.cumsum(0) - count / 2) / max(1, len(place)))[place].to(ranks.dtype)
    return ranks
