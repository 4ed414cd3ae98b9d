"""Numbers of two substructures: distances, angles, handedness and order along the chain.

References:
    Chothia, Levitt and Richardson, Helix to helix packing in proteins, J. Mol. Biol. 145 (1981): the angle between
    axes, seen along the line between their centres.
    Richardson, The anatomy and taxonomy of protein structure, Adv. Protein Chem. 34 (1981): the handedness of a
    crossover, which is the side on which the chain passes from one element to another.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.protein.geometry.axes import Axes

__all__ = ["PAIR_NUMBERS", "pair_numbers"]

PAIR_NUMBERS = 35
"""Numbers that `Arrangement` has of a pair of substructures."""
_TOUCHING = 7.0
"""Substructures touch if their closest CA distance, in angstrom, is below this."""
_EPS = 1e-6


def pair_numbers(
    axes: Axes,
    closest: Tensor,
    rank: Tensor,
    index: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Computes the numbers of pairs of substructures.

    A pair is seen from its receiver: a sender that lies ahead along the chain has a positive order.

    Arguments:
        axes: Place and direction of the substructures.
        closest: Closest CA distance between substructures in angstrom, `[B, K, K]`.
        rank: Number of each substructure along its chain, `[B, K]` int64.
        index: Chain, receiver and sender of each pair, `[E]` int64 each.

    Returns:
        `[E, PAIR_NUMBERS]`: closest distance; whether they touch; cosines of the angle between the axes and of the
        angles of both with the line between the centres; three numbers of the turn, see `_turn`; side of the crossover;
        residues apart, as a signed logarithm; then Gaussians of the angle (4), of the distance of the centres (8) and
        of the closest distance (5); and 8 flags of the order along the chain.
    """
    chain, receiver, sender = index
    near = closest[chain, receiver, sender]
    apart = rank[chain, sender] - rank[chain, receiver]
    first, second = axes.axis[chain, receiver], axes.axis[chain, sender]
    between = axes.centre[chain, sender] - axes.centre[chain, receiver]
    distance = between.norm(dim=-1)
    toward = between / distance.clamp(min=_EPS)[:, None]
    residues_apart = axes.position[chain, sender] - axes.position[chain, receiver]
    columns = torch.stack(
        [
            near.clamp(max=20) / 10,
            (near < _TOUCHING).to(near.dtype),
            (first * second).sum(-1),
            (first * toward).sum(-1),
            (second * toward).sum(-1),
            *_turn(first, toward, second),
            _crossover(axes, rank, index, first, toward),
            residues_apart.sign() * (1 + residues_apart.abs()).log() / 4,
        ],
        dim=-1,
    )
    angle = torch.linspace(-1, 1, 4, device=near.device, dtype=near.dtype)
    return torch.cat(
        [
            columns,
            _bumps(columns[:, 2], angle),
            _bumps(distance, torch.linspace(4, 32, 8, device=near.device, dtype=near.dtype)),
            _bumps(near, torch.linspace(4, 12, 5, device=near.device, dtype=near.dtype)),
            _order_bins(apart).to(near.dtype),
        ],
        dim=-1,
    )


def _turn(first: Tensor, toward: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Computes how two axes turn about the line between their centres, `[E]` each.

    Returns:
        Triple product of the three directions; cosine and sine of the dihedral angle, whose cosine is 1 for two
        antiparallel axes side by side.
    """
    left, right = torch.linalg.cross(first, toward), torch.linalg.cross(toward, second)
    triple = (torch.linalg.cross(first, second) * toward).sum(-1)
    cos, sin = (left * right).sum(-1), (first * right).sum(-1)
    length = torch.hypot(cos, sin).clamp(min=_EPS)
    return triple, cos / length, sin / length


def _crossover(
    axes: Axes,
    rank: Tensor,
    index: tuple[Tensor, Tensor, Tensor],
    first: Tensor,
    toward: Tensor,
) -> Tensor:
    """Computes on which side the chain passes from one substructure of a pair to the other, from -1 to 1, `[E]`.

    It is the triple product of the earlier axis, the direction to the later one, and the direction to the middle of the
    substructures between them; 0 if there is none between them.
    """
    chain, receiver, sender = index
    ordered = torch.zeros_like(axes.centre).scatter(1, rank[..., None].expand_as(axes.centre), axes.centre)
    sums = F.pad(ordered.cumsum(1), (0, 0, 1, 0))
    low = torch.minimum(rank[chain, receiver], rank[chain, sender])
    high = torch.maximum(rank[chain, receiver], rank[chain, sender])
    count = (high - low - 1)[:, None]
    middle = (sums[chain, high] - sums[chain, low + 1]) / count.clamp(min=1)
    aside = middle - (axes.centre[chain, receiver] + axes.centre[chain, sender]) / 2
    aside = aside / aside.norm(dim=-1, keepdim=True).clamp(min=_EPS)
    # Seen from the later substructure, both the direction and the axis that count are those of the earlier one.
    is_earlier = (rank[chain, receiver] < rank[chain, sender])[:, None]
    axis = torch.where(is_earlier, first, axes.axis[chain, sender])
    forward = torch.where(is_earlier, toward, -toward)
    return (torch.linalg.cross(axis, forward) * aside).sum(-1) * (count[:, 0] > 0)


def _order_bins(apart: Tensor) -> Tensor:
    """Marks how far the sender is behind or ahead along the chain: 1, 2, 3 or more, `[E, 8]`."""
    steps = apart.abs().clamp(max=4) - 1
    return F.one_hot(steps + 4 * (apart > 0), 8)


def _bumps(x: Tensor, centres: Tensor) -> Tensor:
    """Computes Gaussians around evenly spaced centres `[C]`, as wide as their spacing, `[E, C]`."""
    return torch.exp(-(((x[:, None] - centres) / (centres[1] - centres[0])) ** 2))
