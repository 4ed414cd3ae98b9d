"""Cuts chains into their elements: each helix and each strand, with the residues that lie nearest along the chain."""

from typing import NamedTuple

import torch
from torch import Tensor

from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.secondary_structure import COIL, number_runs, secondary_structure

__all__ = ["Elements", "find_elements"]


class Elements(NamedTuple):
    """Up to K elements of each of B chains, which cover the chain."""

    assignment: Tensor
    """Element of each residue, numbered along its chain from 0, `[N]` int64; -1 for a residue that is missing."""
    core: Tensor
    """True for the residues of the helix or strand itself; in a chain without one, for all of its residues. `[N]`."""
    mask: Tensor
    """True where an element exists, `[B, K]` bool."""


class _Runs(NamedTuple):
    """Runs of one state along the chains, as many slots as residues; `[N]` each."""

    of_residue: Tensor
    """Number of each residue's run, int64."""
    chain: Tensor
    """Chain of each run, int64."""
    length: Tensor
    """Residues of each run, int64; 0 for an empty slot."""
    is_element: Tensor
    """True if the run is a helix or a strand, bool."""


@torch.no_grad()
def find_elements(graph: ResidueGraph, max_elements: int) -> Elements:
    """Finds the elements of each chain.

    Each helix and each strand is an element. The longest `max_elements` stay; equally long ones that come earlier go
    first. Every other residue joins the element that is nearest along the chain, the earlier one of two that are
    equally near. A missing residue counts as a step along the chain. A chain without helix and strand is one element.

    The result of a chain does not depend on the other chains of its batch.

    Arguments:
        graph: The batch of chains; it needs no features.
        max_elements: Largest number K of elements in a chain.

    Example:
        >>> from partoken.protein.geometry.graph import featurize
        >>> _ = torch.manual_seed(0)
        >>> graph = featurize(torch.randn(50, 4, 3).cumsum(0), torch.tensor([0, 20, 50]), 1)
        >>> elements = find_elements(graph, 4)
        >>> elements.assignment.shape, elements.mask.shape
        (torch.Size([50]), torch.Size([2, 4]))
    """
    runs = _find_runs(graph)
    stays = _longest(runs, graph.num_chains, max_elements)
    core = stays[runs.of_residue] & graph.mask
    count = _count(runs.chain, stays, graph.num_chains)
    number = stays.long().cumsum(0) - 1 - (count.cumsum(0) - count)[runs.chain]

    nearest = _nearest_along_chain(core, graph)
    has_element = (count > 0)[graph.chain]
    assignment = torch.where(has_element, number[runs.of_residue[nearest]], 0)
    residues = _count(graph.chain, graph.mask, graph.num_chains)
    count = torch.where((count == 0) & (residues > 0), 1, count)
    return Elements(
        assignment=torch.where(graph.mask, assignment, -1),
        core=torch.where(has_element, core, graph.mask),
        mask=torch.arange(max_elements, device=count.device) < count[:, None],
    )


def _find_runs(graph: ResidueGraph) -> _Runs:
    state = secondary_structure(graph)
    of_residue = number_runs(state, graph.chain)
    slots = torch.zeros_like(of_residue)
    # All residues of a run have the same chain and the same state, so the largest value is that of each.
    return _Runs(
        of_residue=of_residue,
        chain=slots.scatter_reduce(0, of_residue, graph.chain, "amax"),
        length=slots.index_add(0, of_residue, torch.ones_like(of_residue)),
        is_element=slots.scatter_reduce(0, of_residue, (state != COIL).long(), "amax") > 0,
    )


def _longest(runs: _Runs, num_chains: int, most: int) -> Tensor:
    """Marks the `most` longest helices and strands of each chain, `[N]` bool."""
    size = len(runs.length)
    key = runs.chain * (size + 1) + (size - runs.length)
    key = torch.where(runs.is_element, key, num_chains * (size + 1))
    order = key.argsort(stable=True)
    count = _count(runs.chain, runs.is_element, num_chains)
    first = count.cumsum(0) - count
    place = torch.arange(size, device=order.device)
    rank = torch.empty_like(order).scatter(0, order, place) - first[runs.chain]
    return runs.is_element & (rank < most)


def _nearest_along_chain(marked: Tensor, graph: ResidueGraph) -> Tensor:
    """Returns the nearest marked residue of the same chain, the earlier of two; any residue if there is none. `[N]`."""
    size = len(marked)
    index = torch.arange(size, device=marked.device)
    before = torch.where(marked, index, -1).cummax(0).values
    after = torch.where(marked, index, size).flip(0).cummin(0).values.flip(0)
    far = 2 * size
    start, end = graph.ptr[graph.chain], graph.ptr[graph.chain + 1]
    to_before = torch.where(before >= start, index - before, far)
    to_after = torch.where(after < end, after - index, far)
    return torch.where(to_before <= to_after, before, after).clamp(0, size - 1)


def _count(chain: Tensor, marked: Tensor, num_chains: int) -> Tensor:
    """Counts the marked entries of each chain, `[B]` int64."""
    return torch.zeros(num_chains, dtype=torch.int64, device=chain.device).index_add(0, chain, marked.long())
