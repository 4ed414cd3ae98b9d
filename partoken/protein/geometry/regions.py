"""Cuts chains into regions around the residues that matter: a centre, and the nearest residues in space or in a row."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.protein.geometry.graph import ResidueGraph

__all__ = ["REACH", "Regions", "find_regions"]

REACH = 10.0
"""Largest distance of the CA of a residue from that of the centre of its region, in angstrom."""


class Regions(NamedTuple):
    """Up to K regions of each of B chains."""

    assignment: Tensor
    """Region of each residue, numbered in the order in which they were found, `[N]` int64; -1 for none."""
    mask: Tensor
    """True where a region exists, `[B, K]` bool."""


@torch.no_grad()
def find_regions(
    graph: ResidueGraph, scores: Tensor, size: int, max_regions: int, *, along_chain: bool = False
) -> Regions:
    """Finds the regions of each chain that hold the largest scores, one after another.

    Every free residue could be the centre of a region: it would take the nearest free residues, itself included, at
    most `size` of them and none beyond `REACH`. The region whose scores have the largest sum is taken; of equal ones
    that with the earlier centre. This is repeated until no residue is free or there are `max_regions`. A region is
    therefore connected: each of its residues is near its centre. Along the chain, a region is a stretch of residues
    without a gap, and its centre is in the middle unless the chain or a free stretch ends there.

    The result of a chain does not depend on the other chains of its batch.

    Arguments:
        graph: The batch of chains; in space it needs neighbours, about three times `size`, and no features.
        scores: Score of each residue, `[N]`, 0 or more.
        size: Largest number of residues in a region.
        max_regions: Largest number K of regions in a chain.
        along_chain: True: the nearest residues along the chain join. False: the nearest in space.

    Example:
        >>> from partoken.protein.geometry.graph import featurize
        >>> _ = torch.manual_seed(0)
        >>> graph = featurize(torch.randn(50, 4, 3).cumsum(0), torch.tensor([0, 20, 50]))
        >>> regions = find_regions(graph, torch.rand(50), size=12, max_regions=4)
        >>> regions.assignment.shape, regions.mask.shape
        (torch.Size([50]), torch.Size([2, 4]))
    """
    num_chains, count = graph.num_chains, len(scores)
    around, is_near = _line_up(graph, size) if along_chain else _surround(graph)
    scores = scores.double()
    free = graph.mask
    assignment = torch.full((count,), -1, device=scores.device)
    masks = []
    for number in range(max_regions):
        would_join = is_near & free[around] & free[:, None]
        if along_chain:
            would_join = _unbroken(would_join)
        would_join &= would_join.cumsum(1) <= size
        # A cumulative sum adds in a fixed order, so slots that other chains of the batch need change nothing.
        total = (scores[around] * would_join).cumsum(1)[:, -1]
        centre, exists = _best(total.masked_fill(~free, -torch.inf), graph.chain, num_chains)
        members, joins = around[centre], would_join[centre] & exists[:, None]
        assignment[members[joins]] = number
        free = free & (assignment < 0)
        masks.append(exists)
    return Regions(assignment, torch.stack(masks, dim=1))


def _surround(graph: ResidueGraph) -> tuple[Tensor, Tensor]:
    """Lists each residue and its neighbours, nearest first, and marks those within reach, both `[N, 1 + k]`."""
    itself = torch.arange(len(graph.chain), device=graph.chain.device)[:, None]
    around = torch.cat([itself, graph.neighbors], dim=1)
    ca = graph.backbone[:, 1]
    is_near = (ca[graph.neighbors] - ca[:, None]).norm(dim=-1) <= REACH
    return around, F.pad(is_near & graph.neighbor_mask, (1, 0), value=True)


def _line_up(graph: ResidueGraph, size: int) -> tuple[Tensor, Tensor]:
    """Lists each residue, the next, the previous, the one after the next and so on, and marks those of its chain.

    Both are `[N, 2 * size - 1]`.
    """
    steps = torch.arange(1, size, device=graph.chain.device)
    offsets = F.pad(torch.stack([steps, -steps], dim=1).flatten(), (1, 0))
    place = torch.arange(len(graph.chain), device=graph.chain.device)[:, None] + offsets
    around = place.clamp(0, max(0, len(graph.chain) - 1))
    return around, (around == place) & (graph.chain[around] == graph.chain[:, None])


def _unbroken(would_join: Tensor) -> Tensor:
    """Keeps of the residues that `_line_up` lists those that no other one separates from the centre, `[N, 2s - 1]`."""
    after, before = would_join[:, 1::2], would_join[:, 2::2]
    sides = torch.stack([side.long().cumprod(1).bool() for side in (after, before)], dim=2)
    return torch.cat([would_join[:, :1], sides.flatten(1)], dim=1)


def _best(scores: Tensor, chain: Tensor, num_chains: int) -> tuple[Tensor, Tensor]:
    """Returns the first residue of each chain with the largest score, and whether any is above -inf, both `[B]`."""
    peak = scores.new_full((num_chains,), -torch.inf).scatter_reduce(0, chain, scores, "amax")
    index = torch.arange(len(chain), device=chain.device)
    last = len(chain) - 1
    candidates = torch.where(scores == peak[chain], index, last)
    first = torch.full((num_chains,), last, device=chain.device).scatter_reduce(0, chain, candidates, "amin")
    return first, peak > -torch.inf
