"""Geometric features and neighbours of a whole batch of chains, computed on the batch's device and never stored.

References:
    Generative Models for Graph-Based Protein Design (Ingraham et al., NeurIPS 2019).
    Learning from Protein Structure with Geometric Vector Perceptrons (Jing et al., ICLR 2021, arXiv 2009.01411).
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.protein.chains.batch import ChainShare

__all__ = ["ResidueGraph", "backbone_angles", "featurize", "radial_basis", "side_chain_direction"]

# These two weights place the imputed side chain on a tetrahedron around CA.
_BISECTOR, _PERPENDICULAR = math.sqrt(1 / 3), math.sqrt(2 / 3)
_MAX_DISTANCE = 20.0
_NO_NEIGHBOUR = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class ResidueGraph:
    """A batch of chains as one flat graph in which every residue has the same number of neighbour slots.

    The residues of all chains follow one another. Slot `[i, n]` is the edge from sender `neighbors[i, n]` to receiver
    `i`. An empty slot holds its own residue's index and its mask is false, so a gather through `neighbors` is always
    valid.
    """

    node_s: Tensor
    """Scalars of each residue, `[N, 6]`: cosine of phi, psi, omega, then their sine."""
    node_v: Tensor
    """Vectors of each residue, `[N, 3, 3]` (channel, axis): to the next CA, to the previous CA, to the side chain."""
    neighbors: Tensor
    """Nearest residues of each residue, `[N, k]` int64, nearest first; k is at most the longest chain can fill."""
    neighbor_mask: Tensor
    """True where a slot holds a neighbour, `[N, k]` bool."""
    edge_s: Tensor
    """Scalars of each edge, `[N, k, 32]`: radial basis of the CA distance, then sinusoids of the sequence offset."""
    edge_v: Tensor
    """Vector of each edge, `[N, k, 1, 3]`: unit vector from receiver to sender."""
    backbone: Tensor
    """Positions of N, CA and C in angstrom, `[N, 3, 3]` (atom, axis); zero for a residue that is ignored."""
    mask: Tensor
    """True for residues whose N, CA and C are all known, `[N]` bool; the others are ignored."""
    chain: Tensor
    """Number of each residue's chain, `[N]` int64."""
    ptr: Tensor
    """First residue of each chain, and the number of residues at the end, `[B + 1]` int64."""
    max_length: int
    """Residues of the longest chain, as a Python integer."""
    share: ChainShare | None = None
    """The place of these chains in the batch of all devices; None: there is one device."""

    @property
    def num_chains(self) -> int:
        """Number of chains B."""
        return self.ptr.shape[0] - 1


@torch.no_grad()
def featurize(
    coords: Tensor,
    ptr: Tensor,
    num_neighbors: int = 30,
    *,
    num_rbf: int = 16,
    num_positional: int = 16,
    features: bool = True,
) -> ResidueGraph:
    """Computes features and neighbours of a flat batch of chains.

    A residue without N, CA or C has no features and no edges, and its neighbours in the sequence are treated as chain
    ends. Neighbours belong to the same chain, and ties go to the smaller index, so the graph of a chain does not depend
    on the other chains of its batch.

    Arguments:
        coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
        ptr: First residue of each chain, and N, `[B + 1]` int64. On the CPU it saves a GPU one synchronisation.
        num_neighbors: Neighbour slots k of each residue, 0 or more. A chain with fewer residues leaves slots empty.
            Slots that even the longest chain would leave empty are not made, except the first.
        num_rbf: Gaussian radial basis functions of the distance, evenly spaced from 0 to 20 angstrom; 0: none.
        num_positional: Sinusoids of the sequence offset, half of them cosines; even, 0: none.
        features: False: only neighbours are computed; the features of residues and edges have no channels.

    Returns:
        The graph, on the device of `coords` and in its dtype.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> graph = featurize(torch.randn(50, 4, 3).cumsum(0), torch.tensor([0, 20, 50]), num_neighbors=25)
        >>> graph.edge_s.shape, graph.neighbor_mask.sum(1)[[0, 20]]
        (torch.Size([50, 25, 32]), tensor([19, 25]))
    """
    bounds = ptr.tolist()
    longest = max(end - start for start, end in pairwise(bounds))
    num_neighbors = min(num_neighbors, max(longest - 1, 1))
    ptr = ptr.to(coords.device, non_blocking=True)
    chain = torch.repeat_interleave(
        torch.arange(len(bounds) - 1, device=coords.device), ptr.diff(), output_size=coords.shape[0]
    )
    backbone = coords[:, :3]
    mask = backbone.isfinite().flatten(1).all(1)
    backbone = torch.where(mask[:, None, None], backbone, 0.0)
    linked = _linked(mask, chain)

    ca = backbone[:, 1]
    neighbors, neighbor_mask = _nearest(ca, mask, chain, bounds, num_neighbors)
    if not features:
        nothing = ca.new_empty(len(ca), 0)
        return ResidueGraph(
            node_s=nothing,
            node_v=nothing,
            neighbors=neighbors,
            neighbor_mask=neighbor_mask,
            edge_s=nothing,
            edge_v=nothing,
            backbone=backbone,
            mask=mask,
            chain=chain,
            ptr=ptr,
            max_length=longest,
        )
    toward = ca[neighbors] - ca[:, None]
    distance = toward.norm(dim=-1)
    occupied = neighbor_mask[..., None]
    offset = neighbors - torch.arange(len(ca), device=ca.device)[:, None]
    edge_parts = []
    if num_rbf:
        edge_parts.append(radial_basis(distance, num_rbf))
    if num_positional:
        edge_parts.append(_positional(offset, longest, num_positional).to(distance.dtype))
    edge_s = torch.cat(edge_parts, dim=-1) if edge_parts else distance.new_empty(*distance.shape, 0)
    return ResidueGraph(
        node_s=_dihedrals(backbone, linked) * mask[:, None],
        node_v=_directions(backbone, linked) * mask[:, None, None],
        neighbors=neighbors,
        neighbor_mask=neighbor_mask,
        edge_s=edge_s.mul_(occupied),
        edge_v=(_unit(toward) * occupied)[:, :, None],
        backbone=backbone,
        mask=mask,
        chain=chain,
        ptr=ptr,
        max_length=longest,
    )


def backbone_angles(graph: ResidueGraph) -> Tensor:
    """Computes cosine of phi, psi, omega, then their sine, `[N, 6]`, also for a graph without features."""
    return _dihedrals(graph.backbone, _linked(graph.mask, graph.chain)) * graph.mask[:, None]


def _linked(mask: Tensor, chain: Tensor) -> Tensor:
    """Marks each residue that the next residue continues, `[N]` bool."""
    linked = torch.zeros_like(mask)
    linked[:-1] = mask[:-1] & mask[1:] & (chain[:-1] == chain[1:])
    return linked


def _nearest(ca: Tensor, mask: Tensor, chain: Tensor, bounds: list[int], k: int) -> tuple[Tensor, Tensor]:
    """Finds the k nearest residues of the same chain, and marks the slots that have one, both `[N, k]`.

    A block of rows is compared only with the chains that it contains.
    """
    size = ca.shape[0]
    rows_at_once = 256 if ca.device.type == "cpu" else 4096
    index = torch.arange(size, device=ca.device)
    nearest = torch.full((size, k), _NO_NEIGHBOUR, device=ca.device)
    for first in range(0, size if k else 0, rows_at_once):
        last = min(first + rows_at_once, size)
        start, end = bounds[bisect_right(bounds, first) - 1], bounds[bisect_right(bounds, last - 1)]
        rows, columns = slice(first, last), slice(start, end)
        square = sum((ca[rows, None, axis] - ca[None, columns, axis]).square_() for axis in range(3))
        allowed = chain[rows, None] == chain[None, columns]
        allowed &= mask[rows, None] & mask[None, columns]
        allowed &= index[rows, None] != index[None, columns]
        # Positive float32 values sort like their bits. With the distance in the upper bits and the index in the lower
        # bits, a single sort of integers also breaks ties.
        key = (square.float().view(torch.int32).long() << 32) | index[None, columns]
        key = torch.where(allowed, key, _NO_NEIGHBOUR)
        width = min(k, end - start)
        nearest[rows, :width] = key.topk(width, largest=False).values
    neighbor_mask = nearest != _NO_NEIGHBOUR
    return torch.where(neighbor_mask, nearest & 0xFFFFFFFF, index[:, None]), neighbor_mask


def radial_basis(distance: Tensor, count: int) -> Tensor:
    """Computes `count` Gaussians of distances `[...]`, evenly spaced from 0 to 20 angstrom, `[..., count]`."""
    centres = torch.linspace(0.0, _MAX_DISTANCE, count, device=distance.device, dtype=distance.dtype)
    return (distance[..., None] - centres).mul_(count / _MAX_DISTANCE).square_().neg_().exp_()


def _positional(offset: Tensor, longest: int, count: int) -> Tensor:
    """Looks up cosines and sines of offsets `[N, k]` in a table of all possible offsets, `[N, k, count]`."""
    frequency = torch.exp(
        torch.arange(0, count, 2, device=offset.device, dtype=torch.float32) * -(math.log(10000.0) / count)
    )
    angle = torch.arange(-longest, longest + 1, device=offset.device)[:, None] * frequency
    return F.embedding(offset + longest, torch.cat([angle.cos(), angle.sin()], dim=-1))


def _dihedrals(backbone: Tensor, linked: Tensor) -> Tensor:
    """Computes cosine and sine of phi, psi and omega, `[N, 6]`; an angle without all four atoms is zero."""
    n, ca, c = backbone.unbind(1)
    following = torch.roll(backbone, -1, 0)
    linked = linked[:, None]
    # The bonds N-CA, CA-C of each residue and C-N to the next one.
    first, second, peptide = ca - n, c - ca, torch.where(linked, following[:, 0] - c, 0.0)
    previous_peptide = torch.roll(peptide, 1, 0)
    next_first = torch.where(linked, following[:, 1] - following[:, 0], 0.0)
    phi = _cos_sin(previous_peptide, first, second)
    psi = _cos_sin(first, second, peptide)
    omega = _cos_sin(second, peptide, next_first)
    return torch.stack([phi, psi, omega], dim=1).transpose(1, 2).flatten(1)


def _cos_sin(before: Tensor, axis: Tensor, after: Tensor) -> Tensor:
    """Computes cosine and sine `[N, 2]` of the dihedral angle between three consecutive bonds `[N, 3]`."""
    left, right = torch.linalg.cross(before, axis), torch.linalg.cross(axis, after)
    cos = (left * right).sum(-1)
    sin = (before * right).sum(-1) * axis.norm(dim=-1)
    length = torch.hypot(cos, sin)
    known = length > 1e-8
    length = length.clamp(min=1e-8)
    return torch.stack([torch.where(known, cos / length, 1.0), torch.where(known, sin / length, 0.0)], dim=-1)


def _directions(backbone: Tensor, linked: Tensor) -> Tensor:
    """Computes unit vectors to the next CA, to the previous CA and to the side chain, `[N, 3, 3]`."""
    ca = backbone[:, 1]
    forward = torch.where(linked[:, None], _unit(torch.roll(ca, -1, 0) - ca), 0.0)
    backward = -torch.roll(forward, 1, 0)
    return torch.stack([forward, backward, side_chain_direction(backbone)], dim=1)


def side_chain_direction(backbone: Tensor) -> Tensor:
    """Computes unit vectors from CA to the imputed side chain, `[N, 3]`, from N, CA and C, `[N, 3 or more, 3]`."""
    n, ca, c = backbone[:, 0], backbone[:, 1], backbone[:, 2]
    to_n, to_c = _unit(n - ca), _unit(c - ca)
    return -_BISECTOR * _unit(to_c + to_n) - _PERPENDICULAR * _unit(torch.linalg.cross(to_c, to_n))


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True).clamp(min=1e-8)
