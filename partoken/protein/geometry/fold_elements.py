"""Numbers of a chain's fold from its helices and strands: how many, how long, and how they pack."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from partoken.protein.geometry.fold_distances import ResiduePairs, Residues, count_by_chain, select_pairs
from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.secondary_structure import COIL, HELIX, STRAND, number_runs, secondary_structure

__all__ = ["ELEMENT_NAMES", "ElementAxes", "element_numbers", "find_element_axes"]

TOUCH = 9.0
"""Two elements touch if two of their CA atoms are closer, in angstrom."""
LENGTHS = {HELIX: (7, 12, 19), STRAND: (5, 7, 10)}
"""Ends of the bins of length of a helix and of a strand, in residues."""
NUM_ANGLES = 4
"""Equal bins of the angle between two axes, from 0 to 180 degrees."""
NUM_ORDERS = 4
"""Bins of how far apart two elements are in the order of the chain's elements: 1, 2, 3, or more."""

_KINDS = ("helix", "strand")
_PAIRS = ("helix-helix", "helix-strand", "strand-strand")
_HANDS = ("left-handed", "right-handed")
_ANGLES = [f"{45 * i} to {45 * (i + 1)} degrees" for i in range(NUM_ANGLES)]
_ORDERS = ("1 apart", "2 apart", "3 apart", "4 or more apart")
_DIRECTIONS = ("antiparallel", "parallel")
_TRIPLES = ["-".join(kinds) for kinds in product(_KINDS, repeat=3)]


def _names(*parts: Iterable[str]) -> list[str]:
    return [", ".join(words) for words in product(*parts)]


ELEMENT_NAMES = (
    *(f"{what} of {kind}" for kind in _KINDS for what in ("number", "residues", "mean length", "longest")),
    *(f"length of {kind}, bin {bin + 1}" for kind in _KINDS for bin in range(4)),
    *_names(_PAIRS, _ANGLES, _HANDS),
    *_names(_PAIRS, _ORDERS, _ANGLES),
    *_names(_PAIRS, _ORDERS, _DIRECTIONS, _HANDS),
    *_names(_TRIPLES, _DIRECTIONS, _HANDS),
)


@dataclass(frozen=True)
class ElementAxes:
    """The E helices and strands of B chains, in the order of the chains."""

    is_strand: Tensor
    """True for a strand, False for a helix, `[E]` bool."""
    chain: Tensor
    """Number of the chain, `[E]` int64."""
    length: Tensor
    """Residues, `[E]` int64."""
    middle: Tensor
    """Mean position of the CA atoms in angstrom, float32 `[E, 3]`."""
    axis: Tensor
    """Unit vector along the element, from its first residue to its last, float32 `[E, 3]`."""
    of_residue: Tensor
    """Element of each known residue, -1 for none, `[M]` int64."""


def find_element_axes(graph: ResidueGraph, residues: Residues) -> ElementAxes:
    """Finds the helices and strands and their axes.

    The axis of a helix is the sum of the cross products of successive second differences of CA, which all point along
    an ideal right-handed helix; that of a strand is the slope of CA along the sequence.

    Arguments:
        graph: The batch of chains.
        residues: Its known residues.

    References:
        Kahn, Defining the axis of a helix, Computers & Chemistry 13, 1989.
    """
    state = secondary_structure(graph)
    run = number_runs(state, graph.chain)
    starts = torch.ones_like(run, dtype=torch.bool)
    starts[1:] = run[1:] != run[:-1]
    starts &= state != COIL
    of_residue = torch.where(state != COIL, starts.cumsum(0) - 1, -1)[graph.mask]
    is_strand, size = state[starts] == STRAND, int(starts.sum())

    inside = of_residue >= 0
    element, ca = of_residue[inside], residues.ca[inside]
    length = torch.bincount(element, minlength=size)
    middle = ca.new_zeros(size, 3).index_add_(0, element, ca) / length[:, None]
    place = torch.arange(len(element), device=ca.device).float()
    centre = place.new_zeros(size).index_add_(0, element, place) / length
    slope = ca.new_zeros(size, 3).index_add_(0, element, (place - centre[element])[:, None] * (ca - middle[element]))

    bend = ca[:-2] + ca[2:] - 2 * ca[1:-1]
    turn = torch.linalg.cross(bend[:-1], bend[1:])
    whole = element[:-3] == element[3:]
    around = ca.new_zeros(size, 3).index_add_(0, element[:-3][whole], turn[whole])
    axis = torch.where(is_strand[:, None], slope, around)
    axis = axis / axis.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return ElementAxes(is_strand, graph.chain[starts], length, middle, axis, of_residue)


def element_numbers(elements: ElementAxes, residues: Residues, pairs: ResiduePairs) -> Tensor:
    """Computes the numbers of `ELEMENT_NAMES`, float32 `[B, len(ELEMENT_NAMES)]`."""
    num_chains = len(residues.count)
    return torch.cat(
        [
            *_counts(elements, residues),
            *(_lengths(elements, kind, num_chains) for kind in (HELIX, STRAND)),
            *_packing(elements, pairs, num_chains),
            _triples(elements, num_chains),
        ],
        dim=1,
    )


def _counts(elements: ElementAxes, residues: Residues) -> list[Tensor]:
    """Computes the number, the fraction of the residues, the mean and the largest length of helices and of strands."""
    num_chains, columns = len(residues.count), []
    for is_kind in (~elements.is_strand, elements.is_strand):
        chain, length = elements.chain[is_kind], elements.length[is_kind].float()
        zeros = length.new_zeros(num_chains)
        number = torch.bincount(chain, minlength=num_chains).float()
        total = zeros.index_add(0, chain, length)
        longest = zeros.scatter_reduce(0, chain, length, "amax")
        columns += [number, total / residues.count.clamp(min=1), total / number.clamp(min=1), longest]
    return [column[:, None] for column in columns]


def _lengths(elements: ElementAxes, kind: int, num_chains: int) -> Tensor:
    """Counts the elements of a kind in bins of length, `[B, 4]`."""
    wanted = elements.is_strand == (kind == STRAND)
    ends = torch.tensor(LENGTHS[kind], device=wanted.device)
    bins = torch.bucketize(elements.length[wanted], ends, right=True)
    return count_by_chain(elements.chain[wanted], bins, num_chains, len(ends) + 1)


def _packing(elements: ElementAxes, pairs: ResiduePairs, num_chains: int) -> list[Tensor]:
    """Counts the touching pairs of elements by kind, order, angle and handedness.

    Handedness is the sign of the triple product of the two axes and the vector between the middles.
    """
    size = len(elements.chain)
    near = select_pairs(pairs, pairs.distance < TOUCH)
    first, second = elements.of_residue[near.first], elements.of_residue[near.second]
    different = (first >= 0) & (second >= 0) & (first != second)
    touching = torch.unique(first[different] * size + second[different])
    a, b = touching // max(size, 1), touching % max(size, 1)

    kind = elements.is_strand[a].long() + elements.is_strand[b].long()
    order = (b - a - 1).clamp(max=NUM_ORDERS - 1)
    cosine = (elements.axis[a] * elements.axis[b]).sum(1)
    angle = (cosine < 0.5**0.5).long() + (cosine < 0) + (cosine < -(0.5**0.5))
    hand = _handedness(elements.axis[a], elements.axis[b], elements.middle[b] - elements.middle[a])
    parallel = (cosine > 0).long()

    chain, hands = elements.chain[a], 2
    by_angle = (kind * NUM_ANGLES + angle) * hands + hand
    by_order = (kind * NUM_ORDERS + order) * NUM_ANGLES + angle
    by_direction = ((kind * NUM_ORDERS + order) * len(_DIRECTIONS) + parallel) * hands + hand
    return [
        count_by_chain(chain, by_angle, num_chains, len(_PAIRS) * NUM_ANGLES * hands),
        count_by_chain(chain, by_order, num_chains, len(_PAIRS) * NUM_ORDERS * NUM_ANGLES),
        count_by_chain(chain, by_direction, num_chains, len(_PAIRS) * NUM_ORDERS * len(_DIRECTIONS) * hands),
    ]


def _triples(elements: ElementAxes, num_chains: int) -> Tensor:
    """Counts the triples of successive elements by their kinds, the direction of the last against the first, and hand.

    The hand is that of the crossover: on which side of the plane through the first axis and the last middle the second
    element lies. A strand, a helix and a parallel strand nearly always are right-handed.
    """
    first, last = slice(None, -2), slice(2, None)
    within = elements.chain[first] == elements.chain[last]
    kinds = elements.is_strand.long()
    kind = (kinds[first] * 2 + kinds[1:-1]) * 2 + kinds[last]
    parallel = ((elements.axis[first] * elements.axis[last]).sum(1) > 0).long()
    start = elements.middle[first]
    hand = _handedness(elements.axis[first], elements.middle[1:-1] - start, elements.middle[last] - start)
    bins = ((kind * 2 + parallel) * 2 + hand)[within]
    return count_by_chain(elements.chain[first][within], bins, num_chains, 32)


def _handedness(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Returns 1 where the triple product of vectors `[n, 3]` is positive, else 0, `[n]` int64."""
    return ((torch.linalg.cross(a, b) * c).sum(1) > 0).long()
