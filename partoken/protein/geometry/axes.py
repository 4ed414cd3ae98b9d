"""The place and the direction of each substructure of a batch of chains."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.secondary_structure import secondary_structure

__all__ = ["Axes", "find_axes"]

_EPS = 1e-6


class Axes(NamedTuple):
    """Place and direction of each substructure of the batch, `[B, K, ...]`."""

    size: Tensor
    """Number of residues, `[B, K]`."""
    centre: Tensor
    """Mean CA position in angstrom, `[B, K, 3]`."""
    axis: Tensor
    """Direction of the chain through the substructure, a unit vector, `[B, K, 3]`."""
    rise: Tensor
    """Angstrom along the axis from a residue to the next one, `[B, K]`."""
    spread: Tensor
    """Root mean square distance from the centre in angstrom, `[B, K]`."""
    position: Tensor
    """Mean place of the residues along the chain, counted from its first residue, `[B, K]`."""
    kind: Tensor
    """Fractions of coil, helix and strand, `[B, K, 3]`."""


def find_axes(ca: Tensor, group: Tensor, graph: ResidueGraph, num_groups: int) -> Axes:
    """Computes place and direction of substructures.

    Arguments:
        ca: Positions of CA in angstrom, `[N, 3]`.
        group: Substructure of each residue, numbered within its chain, `[N]` int64; -1 for none.
        graph: The batch of chains; it needs no features.
        num_groups: Largest number K of substructures in a chain.
    """
    num_chains = graph.num_chains
    # One more slot takes the residues without a substructure.
    slot = torch.where(group >= 0, graph.chain * num_groups + group, num_chains * num_groups)

    def total(x: Tensor) -> Tensor:
        return x.new_zeros(num_chains * num_groups + 1, *x.shape[1:]).index_add(0, slot, x)

    count = total(torch.ones_like(ca[:, 0])).clamp(min=1)
    place = (torch.arange(len(ca), device=ca.device) - graph.ptr[graph.chain]).to(ca.dtype)
    position = total(place) / count
    centre = total(ca) / count[:, None]
    along = place - position[slot]
    from_centre = ca - centre[slot]
    variance = total(along.square())
    slope = total(from_centre * along[:, None]) / variance.clamp(min=_EPS)[:, None]
    # The direction of the chain decides for substructures without a slope, such as a single residue.
    direction = slope + 1e-4 * total(_tangents(ca, graph)) / count[:, None]
    state = F.one_hot(secondary_structure(graph), 3).to(ca.dtype)
    parts = (
        total(torch.ones_like(ca[:, 0])),
        centre,
        direction / direction.norm(dim=-1, keepdim=True).clamp(min=_EPS),
        slope.norm(dim=-1),
        (total(from_centre.square().sum(-1)) / count).sqrt(),
        position,
        total(state) / count[:, None],
    )
    return Axes(*(part[:-1].unflatten(0, (num_chains, num_groups)) for part in parts))


def _tangents(ca: Tensor, graph: ResidueGraph) -> Tensor:
    """Returns the vector from the previous to the next CA of each residue, `[N, 3]`, as far as they are known."""
    joined = graph.mask[1:] & graph.mask[:-1] & (graph.chain[1:] == graph.chain[:-1])
    step = torch.where(joined[:, None], ca[1:] - ca[:-1], 0.0)
    tangent = torch.zeros_like(ca)
    tangent[:-1] += step
    tangent[1:] += step
    return tangent
