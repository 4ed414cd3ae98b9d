"""The arrangement of substructures: known cases, symmetries, and independence of the batch."""

import pytest
import torch

from partoken.protein.chains.batch import collate
from partoken.protein.geometry.arrangement import OWN_NUMBERS, PAIR_NUMBERS, arrange
from partoken.protein.geometry.elements import find_elements
from partoken.protein.geometry.graph import featurize

COS, TRIPLE, TURN_COS, TURN_SIN, CROSSOVER, RESIDUES = 2, 5, 6, 7, 8, 9
HANDED = [TRIPLE, TURN_SIN, CROSSOVER]
ORDER = slice(27, 35)


def arranged(chains):
    batch = collate(chains)
    graph = featurize(batch.coords, batch.ptr, 1, features=False)
    elements = find_elements(graph, 12)
    return arrange(graph, elements.assignment, elements.mask, elements.core), elements


def rods(*rods_of_points):
    """Returns the arrangement of substructures that each have the given CA positions, of one chain."""
    ca = torch.cat([torch.as_tensor(points, dtype=torch.float32) for points in rods_of_points])
    atoms = ca[:, None] + torch.tensor([[-1.0, 0.4, 0.0], [0.0, 0.0, 0.0], [1.0, 0.3, 0.2], [1.2, 0.5, 1.0]])
    sizes = torch.tensor([len(points) for points in rods_of_points])
    assignment = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    graph = featurize(atoms, torch.tensor([0, len(ca)]), 1)
    found = arrange(graph, assignment, torch.ones(1, len(sizes), dtype=torch.bool))
    return {
        pair: found.pairs[i] for i, pair in enumerate(zip(found.receiver.tolist(), found.sender.tolist(), strict=True))
    }, found


def rod(start, direction, count=6):
    return torch.tensor(start) + 3.0 * torch.arange(count)[:, None] * torch.tensor(direction)


def test_two_antiparallel_strands_are_told_as_such():
    pairs, found = rods(rod([0.0, 0, 0], [0.0, 0, 1]), rod([5.0, 0, 15], [0.0, 0, -1]))
    pair = pairs[0, 1]
    assert found.own.shape == (1, 2, OWN_NUMBERS) and found.pairs.shape == (2, PAIR_NUMBERS)
    assert pair[:5].tolist() == pytest.approx([0.5, 1, -1, 0, 0], abs=1e-3)
    assert pair[[TRIPLE, TURN_COS, TURN_SIN, CROSSOVER]].tolist() == pytest.approx([0, 1, 0, 0], abs=1e-3)
    assert pair[ORDER].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
    assert pairs[1, 0][ORDER].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert pair[RESIDUES] == -pairs[1, 0][RESIDUES] > 0


def test_crossed_rods_have_the_sign_of_their_turn():
    turns = {}
    for sign in (1.0, -1.0):
        pairs, _ = rods(rod([0.0, 0, -7.5], [0.0, 0, 1]), rod([8.0, -7.5 * sign, 0], [0.0, sign, 0]))
        assert torch.equal(pairs[0, 1][HANDED], pairs[1, 0][HANDED])
        turns[sign] = pairs[0, 1]
        assert turns[sign][COS] == pytest.approx(0, abs=1e-3)
    assert turns[1.0][TRIPLE] == pytest.approx(-1, abs=1e-3)
    torch.testing.assert_close(turns[1.0][[TRIPLE, TURN_SIN]], -turns[-1.0][[TRIPLE, TURN_SIN]], atol=1e-3, rtol=0)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_crossover_has_the_sign_of_its_side(side):
    middle = rod([2.5, 10.0 * side, 15], [0.0, 0, -1])
    pairs, _ = rods(rod([0.0, 0, 0], [0.0, 0, 1]), middle, rod([5.0, 0, 0], [0.0, 0, 1]))
    assert pairs[0, 2][CROSSOVER] == pairs[2, 0][CROSSOVER]
    assert pairs[0, 2][CROSSOVER] == pytest.approx(side, abs=0.01)
    assert pairs[0, 2][ORDER].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]


def test_a_single_residue_has_the_direction_of_its_chain():
    pairs, found = rods([[0.0, 0, 0]], [[3.0, 0, 0]], rod([6.0, 0, 0], [1.0, 0, 0]))
    assert pairs[1, 2][COS] == pytest.approx(1, abs=1e-4)
    assert found.own.isfinite().all() and found.pairs.isfinite().all()


def test_distant_substructures_are_a_pair_only_if_they_follow_each_other():
    pairs, _ = rods(*(rod([40.0 * i, 0, 0], [0.0, 0, 1]) for i in range(3)))
    assert sorted(pairs) == [(0, 1), (1, 0), (1, 2), (2, 1)]


def test_a_helix_has_the_axis_and_the_rise_of_a_helix():
    turn = torch.deg2rad(100.0 * torch.arange(18))
    helix = torch.stack([2.3 * turn.cos(), 2.3 * turn.sin(), 1.5 * torch.arange(18)], dim=1)
    pairs, found = rods(helix, rod([9.0, 0, 0], [0.0, 0, 1]))
    assert pairs[0, 1][COS] == pytest.approx(1, abs=0.01)
    assert found.own[0, 0, 6] == pytest.approx(1.5, abs=0.03)


def test_rotating_and_shifting_changes_nothing_and_a_mirror_changes_the_handedness_alone(chains, rotation):
    batch = collate(chains[:12])
    coords = batch.coords.double()
    graph = featurize(coords, batch.ptr, 1)
    elements = find_elements(graph, 12)

    def of(coords):
        return arrange(featurize(coords, batch.ptr, 1), elements.assignment, elements.mask, elements.core)

    before, turned, mirrored = of(coords), of(coords @ rotation.T + 30), of(coords * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(turned.own, before.own)
    torch.testing.assert_close(turned.pairs, before.pairs)
    assert before.pairs[:, HANDED].abs().max(0).values.min() > 0.5
    torch.testing.assert_close(mirrored.pairs[:, HANDED], -before.pairs[:, HANDED])
    plain = [column for column in range(PAIR_NUMBERS) if column not in HANDED]
    torch.testing.assert_close(mirrored.pairs[:, plain], before.pairs[:, plain])


def test_numbers_do_not_depend_on_the_other_chains_and_are_of_order_one(chains):
    together, elements = arranged(chains[:8])
    assert together.own[elements.mask].abs().max() < 6 and together.pairs.abs().max() < 6
    assert not together.own[~elements.mask].any()
    for number, chain in enumerate(chains[:8]):
        alone, _ = arranged([chain])
        own = together.receiver // 12 == number
        torch.testing.assert_close(together.own[number], alone.own[0], atol=1e-4, rtol=1e-4)
        assert torch.equal(together.receiver[own] - 12 * number, alone.receiver)
        assert torch.equal(together.sender[own] - 12 * number, alone.sender)
        torch.testing.assert_close(together.pairs[own], alone.pairs, atol=1e-4, rtol=1e-4)


def test_any_grouping_of_residues_has_finite_numbers(batch_of):
    coords, ptr = batch_of(10, 60, 4)
    coords[70:74] = torch.nan
    graph = featurize(coords, ptr, 1)
    assignment = torch.randint(-1, 5, (74,), generator=torch.Generator().manual_seed(0))
    assignment[70:] = -1
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[2] = False
    found = arrange(graph, assignment, mask)
    assert found.own.isfinite().all() and found.pairs.isfinite().all()
    assert (found.receiver // 5 == found.sender // 5).all() and (found.receiver < 10).all()
