"""Numbers of a chain's fold from the distances between its CA atoms."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from partoken.protein.geometry.graph import ResidueGraph

__all__ = ["DISTANCE_NAMES", "ResiduePairs", "Residues", "count_by_chain", "distance_numbers", "known_residues"]
__all__ += ["pair_residues", "select_pairs"]

CONTACT = 8.0
"""Two residues touch if their CA atoms are closer, in angstrom."""
SEPARATIONS = (3, 4, 6, 9, 14, 24, 50, 100)
"""Lower ends of the bins of sequence separation; the last bin is open, and nearer residues are no contact."""
RADII = (6, 8, 10, 12, 14, 16)
"""Radii of the contact numbers, in angstrom."""
BLOCKS = 8
"""Equal parts of a chain, of which the two maps have a cell for each pair."""
BIN_WIDTH, NUM_BINS = 5.0, 15
"""Bins of the distances, in angstrom; the last bin is open."""
LOCAL_RANGES = {2: (4.8, 7.2), 3: (4.5, 10.5), 4: (5.0, 13.8), 5: (5.0, 17.0), 6: (6.0, 20.4)}
"""Range of the distance over some places of the sequence, in angstrom; the first and last of its bins are open."""
LOCAL_BINS = 8

_CELLS = [(a, b) for a in range(BLOCKS) for b in range(a, BLOCKS)]

DISTANCE_NAMES = (
    "log length",
    "log radius of gyration",
    "contact order",
    *(f"contacts, {low} to {high - 1} apart" for low, high in pairwise(SEPARATIONS)),
    f"contacts, {SEPARATIONS[-1]} or more apart",
    *(f"distances, {bin * BIN_WIDTH:g} to {(bin + 1) * BIN_WIDTH:g} angstrom" for bin in range(NUM_BINS - 1)),
    f"distances, {(NUM_BINS - 1) * BIN_WIDTH:g} angstrom or more",
    *(f"distance between parts {a + 1} and {b + 1}" for a, b in _CELLS),
    *(f"contacts between parts {a + 1} and {b + 1}" for a, b in _CELLS),
    *(f"distance over {step} places, bin {bin + 1}" for step in LOCAL_RANGES for bin in range(LOCAL_BINS)),
    *(f"contact number within {radius} angstrom" for radius in RADII),
)


@dataclass(frozen=True)
class Residues:
    """The M known residues of B chains, one chain after another."""

    ca: Tensor
    """Positions of CA relative to the chain's centre in angstrom, float32 `[M, 3]`."""
    chain: Tensor
    """Number of the chain, `[M]` int64."""
    place: Tensor
    """Place in the sequence from 0, in which unknown residues count, `[M]` int64."""
    length: Tensor
    """Residues of each chain, unknown ones too, `[B]` int64."""
    count: Tensor
    """Known residues of each chain, `[B]` int64."""


@dataclass(frozen=True)
class ResiduePairs:
    """All P pairs of known residues within a chain, the earlier residue first."""

    first: Tensor
    """Rows of `Residues`, `[P]` int64."""
    second: Tensor
    """Rows of `Residues`, `[P]` int64."""
    chain: Tensor
    """Number of the chain, `[P]` int64."""
    apart: Tensor
    """Places apart in the sequence, `[P]` int64."""
    distance: Tensor
    """Distance of the CA atoms in angstrom, float32 `[P]`."""


def known_residues(ca: Tensor, graph: ResidueGraph) -> Residues:
    """Selects the known residues, and moves the centre of each chain to the origin.

    Arguments:
        ca: Positions of CA in angstrom, float32 `[N, 3]`.
        graph: The batch of chains; only its mask and its chain numbers are read.
    """
    length = graph.ptr.diff()
    place = torch.arange(len(ca), device=ca.device) - graph.ptr[graph.chain]
    ca, chain, place = ca[graph.mask], graph.chain[graph.mask], place[graph.mask]
    count = torch.bincount(chain, minlength=len(length))
    # The first residue moves to the origin before the sums, which would lose digits far from it.
    ca = ca - ca[(count.cumsum(0) - count)[chain]]
    centre = ca.new_zeros(len(length), 3).index_add_(0, chain, ca) / count.clamp(min=1)[:, None]
    return Residues(ca - centre[chain], chain, place, length, count)


def pair_residues(residues: Residues) -> ResiduePairs:
    """Lists the pairs of known residues of each chain."""
    index = torch.arange(len(residues.ca), device=residues.ca.device)
    num_later = residues.count.cumsum(0)[residues.chain] - index - 1
    first = torch.repeat_interleave(index, num_later)
    start = num_later.cumsum(0) - num_later
    second = torch.arange(len(first), device=first.device) + (index + 1 - start).index_select(0, first)
    return ResiduePairs(
        first,
        second,
        chain=residues.chain.index_select(0, first),
        apart=residues.place.index_select(0, second) - residues.place.index_select(0, first),
        distance=(residues.ca.index_select(0, first) - residues.ca.index_select(0, second)).norm(dim=1),
    )


def distance_numbers(residues: Residues, pairs: ResiduePairs) -> Tensor:
    """Computes the numbers of `DISTANCE_NAMES`, float32 `[B, len(DISTANCE_NAMES)]`.

    Contacts and contact numbers are per known residue, distances and local distances are fractions of the pairs. The
    distance between two parts of a chain is a mean, divided by the radius of gyration; their contacts are the square
    root of a number.
    """
    num_chains = len(residues.count)
    known = residues.count.clamp(min=1).float()[:, None]
    square = known.new_zeros(num_chains).index_add_(0, residues.chain, residues.ca.square().sum(1))
    radius = (square[:, None] / known).sqrt().clamp(min=1.0)
    near = select_pairs(pairs, pairs.distance < RADII[-1])
    touching = select_pairs(near, (near.distance < CONTACT) & (near.apart >= SEPARATIONS[0]))
    local = select_pairs(pairs, pairs.apart <= max(LOCAL_RANGES))

    lower = torch.tensor(SEPARATIONS[1:], device=known.device)
    contacts = count_by_chain(
        touching.chain, torch.bucketize(touching.apart, lower, right=True), num_chains, len(SEPARATIONS)
    )
    reach = known.new_zeros(num_chains).index_add_(0, touching.chain, touching.apart.float())[:, None]
    order = reach / contacts.sum(1, keepdim=True).clamp(min=1) / residues.length[:, None].clamp(min=1)

    bins = (pairs.distance / BIN_WIDTH).long().clamp(max=NUM_BINS - 1)
    limits = torch.tensor(RADII, device=known.device, dtype=known.dtype)
    within = torch.bucketize(near.distance, limits, right=True)
    numbers = count_by_chain(near.chain, within, num_chains, len(RADII)).long().cumsum(1)
    return torch.cat(
        [
            known.log(),
            radius.log(),
            order,
            contacts / known,
            _fractions(count_by_chain(pairs.chain, bins, num_chains, NUM_BINS)),
            _distance_map(pairs, residues) / radius,
            count_by_chain(touching.chain, _cells(touching, residues), num_chains, BLOCKS**2)[:, _upper()].sqrt(),
            *(_local(local, step, num_chains) for step in LOCAL_RANGES),
            2 * numbers / known,
        ],
        dim=1,
    )


def count_by_chain(chain: Tensor, bins: Tensor, num_chains: int, num_bins: int) -> Tensor:
    """Counts for each chain how often each bin occurs, float32 `[B, num_bins]`.

    Example:
        >>> count_by_chain(torch.tensor([0, 0, 1]), torch.tensor([2, 2, 0]), 2, 3)
        tensor([[0., 0., 2.],
                [1., 0., 0.]])
    """
    counts = torch.bincount(chain * num_bins + bins, minlength=num_chains * num_bins)
    return counts.view(num_chains, num_bins).float()


def select_pairs(pairs: ResiduePairs, wanted: Tensor) -> ResiduePairs:
    """Returns the pairs for which `wanted`, `[P]` bool, is true."""
    rows = wanted.nonzero().flatten()
    return ResiduePairs(*(value.index_select(0, rows) for value in vars(pairs).values()))


def _fractions(counts: Tensor) -> Tensor:
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def _upper() -> list[int]:
    """Returns the cells of the upper triangle of a map, among all of its cells."""
    return [a * BLOCKS + b for a, b in _CELLS]


def _cells(pairs: ResiduePairs, residues: Residues) -> Tensor:
    """Returns the cell of the map to which each pair belongs, `[P]` int64."""
    part = residues.place * BLOCKS // residues.length[residues.chain]
    return part.index_select(0, pairs.first) * BLOCKS + part.index_select(0, pairs.second)


def _distance_map(pairs: ResiduePairs, residues: Residues) -> Tensor:
    """Computes the mean distance between any two parts of each chain in angstrom, 0 without a pair, `[B, cells]`."""
    cells, shape = _cells(pairs, residues), (len(residues.count), BLOCKS**2)
    sums = pairs.distance.new_zeros(shape[0] * shape[1]).index_add_(0, pairs.chain * BLOCKS**2 + cells, pairs.distance)
    return (sums.view(shape) / count_by_chain(pairs.chain, cells, *shape).clamp(min=1))[:, _upper()]


def _local(pairs: ResiduePairs, step: int, num_chains: int) -> Tensor:
    """Computes the histogram of the distances over some places in the sequence, `[B, LOCAL_BINS]`."""
    near = select_pairs(pairs, pairs.apart == step)
    low, high = LOCAL_RANGES[step]
    bins = ((near.distance - low) / (high - low) * LOCAL_BINS).floor().long().clamp(0, LOCAL_BINS - 1)
    return _fractions(count_by_chain(near.chain, bins, num_chains, LOCAL_BINS))
