"""How the substructures of a chain lie to each other: distances, angles, handedness and order along the chain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from partoken.protein.geometry.axes import Axes, find_axes
from partoken.protein.geometry.closest import closest_distances
from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.pairs import PAIR_NUMBERS, pair_numbers

__all__ = ["OWN_NUMBERS", "PAIR_NUMBERS", "Arrangement", "arrange"]

OWN_NUMBERS = 14
"""Numbers that `Arrangement` has of a substructure."""
_CUTOFF = 10.0
"""Substructures are a pair if their closest CA distance, in angstrom, is below this, or if they follow each other."""


@dataclass(frozen=True)
class Arrangement:
    """Numbers of up to K substructures of each of B chains, and of E ordered pairs of them.

    They do not change if a chain is rotated or shifted. In its mirror image, the numbers of handedness change sign.
    All numbers are of order one.
    """

    own: Tensor
    """Numbers of each substructure, `[B, K, OWN_NUMBERS]`, zero where there is none."""
    receiver: Tensor
    """Substructure that a pair tells about the other one, `[E]` int64, numbered b * K + k, ascending."""
    sender: Tensor
    """The other substructure of the same chain, `[E]` int64, numbered in the same way."""
    pairs: Tensor
    """Numbers of each pair, `[E, PAIR_NUMBERS]`."""


@torch.no_grad()
def arrange(graph: ResidueGraph, assignment: Tensor, mask: Tensor, core: Tensor | None = None) -> Arrangement:
    """Computes the numbers of substructures and of pairs of them, in float32 or wider.

    A pair is made of two substructures of a chain that lie near each other or follow each other along the chain. The
    axis of a substructure is the slope of a line fitted to its CA positions over their places along the chain; a
    substructure of one residue has the direction from the previous to the next residue.

    Arguments:
        graph: The batch of chains; it needs no features.
        assignment: Substructure of each residue, numbered within its chain, `[N]` int64, -1 for none.
        mask: True where a substructure exists, `[B, K]` bool.
        core: Residues that place and direct the substructures, `[N]` bool; None: all of them.
    """
    num_groups = mask.shape[1]
    chosen = (assignment >= 0) & graph.mask
    if core is not None:
        chosen &= core
    group = torch.where(chosen, assignment, -1)
    ca = graph.backbone[:, 1]
    ca = ca.to(torch.promote_types(ca.dtype, torch.float32))
    axes = find_axes(ca, group, graph, num_groups)
    closest = closest_distances(ca, group, num_groups, graph.ptr)
    rank = _rank(axes.position, mask)
    apart = rank[:, None, :] - rank[:, :, None]
    linked = (closest < _CUTOFF) | (apart.abs() == 1)
    linked &= mask[:, :, None] & mask[:, None, :] & (apart != 0)
    chain, receiver, sender = linked.nonzero(as_tuple=True)
    pairs = pair_numbers(axes, closest, rank, (chain, receiver, sender))
    return Arrangement(
        own=_own_numbers(axes, ca, graph, mask, rank, linked.sum(-1)),
        receiver=chain * num_groups + receiver,
        sender=chain * num_groups + sender,
        pairs=pairs,
    )


def _rank(position: Tensor, mask: Tensor) -> Tensor:
    """Numbers the substructures of each chain by their place along it from 0, `[B, K]` int64; the absent come last."""
    order = position.masked_fill(~mask, torch.inf).argsort(dim=1, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter(1, order, places)


def _own_numbers(
    axes: Axes,
    ca: Tensor,
    graph: ResidueGraph,
    mask: Tensor,
    rank: Tensor,
    degree: Tensor,
) -> Tensor:
    """Computes kind, length, extent, place and crowding of each substructure, `[B, K, OWN_NUMBERS]`."""
    length, middle, radius = _chain_sizes(ca, graph)
    number = mask.sum(1, keepdim=True).to(ca.dtype)
    depth = (axes.centre - middle[:, None]).norm(dim=-1) / radius[:, None]
    columns = [
        *axes.kind.unbind(-1),
        axes.size.clamp(min=1).log() - 2,
        axes.size / 20,
        axes.spread / 10,
        axes.rise,
        axes.position / length[:, None],
        1 / (1 + rank),
        1 / (number - rank).clamp(min=1),
        depth,
        degree / 8,
        (length.log()[:, None] - 5).expand_as(depth),
        (number.clamp(min=1).log() - 2).expand_as(depth),
    ]
    return torch.stack([column.to(ca.dtype) for column in columns], dim=-1) * mask[..., None]


def _chain_sizes(ca: Tensor, graph: ResidueGraph) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the number of residues `[B]`, the centroid `[B, 3]` and the radius of gyration `[B]` of each chain."""

    def total(x: Tensor) -> Tensor:
        return x.new_zeros(graph.num_chains, *x.shape[1:]).index_add(0, graph.chain, x)

    present = graph.mask.to(ca.dtype)
    length = total(present).clamp(min=1)
    middle = total(ca * present[:, None]) / length[:, None]
    square = (ca - middle[graph.chain]).square().sum(-1) * present
    return length, middle, (total(square) / length).sqrt().clamp(min=1)
