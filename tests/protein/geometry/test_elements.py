"""Elements of chains: they equal those of a slow, plain form, cover the chain, and do not depend on the batch."""

import itertools

import pytest
import torch

from partoken.protein.chains.batch import collate
from partoken.protein.geometry.elements import find_elements
from partoken.protein.geometry.graph import featurize
from partoken.protein.geometry.secondary_structure import COIL, secondary_structure


def plain(state, present, most):
    """Returns the element of each residue of one chain, and whether it is of the core, residue by residue."""
    runs, start = [], 0
    for kind, group in itertools.groupby(state):
        end = start + len(list(group))
        if kind != COIL:
            runs.append(range(start, end))
        start = end
    kept = sorted(sorted(runs, key=len, reverse=True)[:most], key=lambda run: run.start)
    if not kept:
        return [0 if here else -1 for here in present], list(present)
    assignment = []
    for place, here in enumerate(present):
        away = [min(abs(place - other) for other in run) for run in kept]
        assignment.append(away.index(min(away)) if here else -1)
    return assignment, [any(place in run for run in kept) for place in range(len(present))]


def graph_of(chains, missing=()):
    batch = collate(chains)
    for place in missing:
        batch.coords[place] = torch.nan
    return featurize(batch.coords, batch.ptr, 1, features=False)


@pytest.mark.parametrize("most", [1, 3, 40])
def test_elements_equal_those_of_the_plain_form(chains, most):
    graph = graph_of(chains[:40], missing=(3, 60, 61, 62, 200, *range(400, 440)))
    found = find_elements(graph, most)
    state = secondary_structure(graph)
    for number in range(graph.num_chains):
        rows = slice(int(graph.ptr[number]), int(graph.ptr[number + 1]))
        assignment, core = plain(state[rows].tolist(), graph.mask[rows].tolist(), most)
        assert found.assignment[rows].tolist() == assignment
        assert found.core[rows].tolist() == core
        assert found.mask[number].sum() == max(assignment) + 1


def test_of_equally_long_elements_the_earlier_stays_and_a_residue_between_joins_the_earlier():
    state, present = [1] * 4 + [0] * 3 + [2] * 4, [True] * 11
    assert plain(state, present, 1)[1] == [True] * 4 + [False] * 7
    assert plain(state, present, 2)[0] == [0] * 6 + [1] * 5


def test_every_present_residue_is_in_an_element_and_no_missing_one_is(chains):
    graph = graph_of(chains[:10], missing=(5, 6, 90))
    assert torch.equal(find_elements(graph, 4).assignment >= 0, graph.mask)


def test_elements_do_not_depend_on_the_other_chains(chains):
    together = find_elements(graph_of(chains[:6]), 5)
    first = 0
    for number, chain in enumerate(chains[:6]):
        alone = find_elements(graph_of([chain]), 5)
        rows = slice(first, first + len(chain))
        assert torch.equal(together.assignment[rows], alone.assignment)
        assert torch.equal(together.core[rows], alone.core)
        assert torch.equal(together.mask[number], alone.mask[0])
        first += len(chain)


def test_a_chain_without_elements_is_one_and_a_chain_without_residues_has_none(chains):
    batch = collate(chains[:2])
    coords = torch.cat([batch.coords, torch.zeros(5, 4, 3), torch.full((4, 4, 3), torch.nan)])
    ptr = torch.cat([batch.ptr, batch.ptr[-1] + torch.tensor([5, 9])])
    found = find_elements(featurize(coords, ptr, 1), 3)
    assert found.mask.tolist()[2:] == [[True, False, False], [False, False, False]]
    assert found.assignment[-9:].tolist() == [0] * 5 + [-1] * 4
    assert found.core[-9:].tolist() == [True] * 5 + [False] * 4
