"""Surroundings of residues: equal to a slow plain form, and unchanged by rotation, translation and other chains."""

import numpy as np
import pytest
import torch

from partoken.protein.chains.batch import collate
from partoken.protein.geometry.surroundings import SURROUNDINGS, surroundings


def numbers_of(chain, coords=None):
    coords = torch.from_numpy(chain.coords) if coords is None else coords
    return surroundings(coords, torch.tensor([0, len(coords)]))


def plain_numbers(coords):
    """Computes everything but the pocket score residue by residue, without a missing one."""

    def unit(v):
        return v / np.sqrt((v**2).sum())

    length = len(coords)
    direction = []
    for n, ca, c, _ in coords:
        to_n, to_c = unit(n - ca), unit(c - ca)
        v = -np.sqrt(1 / 3) * unit(to_n + to_c) - np.sqrt(2 / 3) * unit(np.cross(to_c, to_n))
        direction.append(unit(v))
    ca = coords[:, 1]
    cb = [ca[i] + 1.53 * direction[i] for i in range(length)]
    side = [ca[i] + 2.4 * direction[i] for i in range(length)]
    depth = [np.linalg.norm(side[i] - np.mean(side, axis=0)) for i in range(length)]
    numbers = np.zeros((length, 4))
    for i in range(length):
        numbers[i, 0] = (sum(depth[j] > depth[i] for j in range(length)) + 0.5) / length
        for j in range(length):
            if i == j:
                continue
            numbers[i, 1] += (np.linalg.norm(cb[i] - cb[j]) <= 10) / 30
            if np.linalg.norm(ca[i] - ca[j]) <= 13:
                numbers[i, 2 if (ca[j] - ca[i]) @ direction[i] > 0 else 3] += 1 / 30
    return numbers


def test_numbers_equal_those_of_a_plain_form(chains):
    coords = chains[0].coords.astype(np.float64)
    found = numbers_of(chains[0]).double().numpy()
    np.testing.assert_allclose(np.delete(found, SURROUNDINGS.index("pocket"), axis=1), plain_numbers(coords), atol=1e-6)


def test_every_number_differs_between_residues_and_ranks_lie_between_0_and_1(chains):
    found = numbers_of(chains[50])
    assert found.shape == (len(chains[50]), len(SURROUNDINGS)) and found.dtype == torch.float32
    assert (found.std(0) > 0.05).all()
    assert (found >= 0).all() and (found[:, :2] < 1).all() and (found < 2).all()
    torch.testing.assert_close(found[:, :2].mean(0), torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("place", [0, 30, 60])
def test_rotation_and_translation_change_nothing_but_rounding(chains, rotation, place):
    coords = torch.from_numpy(chains[place].coords)
    moved = (coords.double() @ rotation.T + torch.tensor([13.0, -7, 40])).float()
    before, after = numbers_of(None, coords), numbers_of(None, moved)
    assert (before - after).abs().mean() < 0.003
    assert (before - after).abs().max() < 0.08, "a few grid points may change sides"


@pytest.mark.parametrize("turn", range(3))
def test_a_quarter_turn_changes_nothing_but_rounding(chains, turn):
    coords = torch.from_numpy(chains[20].coords)
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).roll((turn, turn), (0, 1))
    before, after = numbers_of(None, coords), numbers_of(None, coords @ quarter.T)
    assert (before - after).abs().mean() < 0.003


def test_a_chain_does_not_depend_on_its_batch_mates(chains):
    batch = collate(chains[:4])
    together = surroundings(batch.coords, batch.ptr)
    assert torch.equal(together, torch.cat([numbers_of(chain) for chain in chains[:4]]))


def test_a_missing_residue_has_zeros_and_changes_others_as_if_it_were_not_there(chains):
    coords = torch.from_numpy(chains[10].coords.copy())
    whole = torch.cat([coords[:7], coords[8:]])
    coords[7, 2] = torch.nan
    found = numbers_of(None, coords)
    assert not found[7].any()
    assert torch.equal(torch.cat([found[:7], found[8:]]), numbers_of(None, whole))


def test_a_missing_oxygen_leaves_its_residue_its_numbers(chains):
    coords = torch.from_numpy(chains[10].coords.copy())
    coords[7, 3] = torch.nan
    assert numbers_of(None, coords)[7].all()


@pytest.mark.parametrize("length", [1, 2])
def test_the_shortest_chains_have_finite_numbers(length):
    found = numbers_of(None, torch.randn(length, 4, 3))
    assert found.isfinite().all() and found[:, 0].all()


def test_a_chain_without_any_residue_has_zeros():
    assert not numbers_of(None, torch.full((3, 4, 3), torch.nan)).any()
