"""Fold geometry: the numbers of a plain form, for chains of any kind, in any place, and with any batch mates."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from partoken.protein.catalog import embedded
from partoken.protein.geometry.fold import FOLD_NAMES, FOLD_WIDTH, fold_geometry
from partoken.protein.geometry.fold_distances import known_residues, pair_residues
from partoken.protein.geometry.fold_elements import ELEMENT_NAMES, element_numbers, find_element_axes
from partoken.protein.geometry.graph import featurize
from partoken.protein.geometry.secondary_structure import secondary_structure
from tests.protein.geometry.plain_fold import plain_fold

LINE = torch.arange(12)[:, None, None] * torch.tensor([0.0, 0.0, 1.5])


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    """Returns the coordinates of ten real chains; one lacks some atoms and a whole residue."""
    data = embedded(limit=60, cache_dir=str(tmp_path_factory.mktemp("cache")))
    dataset = data.dataset("train")
    shortest = np.argsort(dataset.lengths)[:10].tolist()
    coords = [dataset[[i]].coords for i in shortest]
    coords[3] = coords[3].clone()
    coords[3][10, 2] = torch.nan
    coords[3][40] = torch.nan
    return coords


def fold(*chains):
    return fold_geometry(torch.cat(chains), torch.tensor([0, *map(len, chains)]).cumsum(0))


def states(coords):
    return secondary_structure(featurize(coords, torch.tensor([0, len(coords)]), 0))


def rotated(coords):
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    return (coords.double() @ torch.from_numpy(turn) + torch.tensor([30.0, -500.0, 70.0])).float()


def test_every_number_has_a_name_of_its_own():
    assert len(set(FOLD_NAMES)) == FOLD_WIDTH


def test_the_numbers_are_those_of_a_plain_form(chains):
    for coords, numbers in zip(chains, fold(*chains), strict=True):
        torch.testing.assert_close(
            numbers, torch.tensor(plain_fold(coords, states(coords)), dtype=torch.float32), rtol=1e-4, atol=1e-4
        )


def test_the_plain_form_has_seen_most_of_the_numbers(chains):
    assert (fold(*chains) != 0).any(0).float().mean() > 0.8


def test_rotation_and_translation_change_nothing(chains):
    # A count may change by one where a float32 distance or angle lies on the border of two bins.
    moved, still = fold(*map(rotated, chains)), fold(*chains)
    different = ~torch.isclose(moved, still, rtol=1e-3, atol=1e-3)
    assert different.float().mean() < 0.002


def test_a_reflection_of_the_elements_exchanges_left_and_right(chains):
    right = ELEMENT_NAMES.index("strand-strand, 0 to 45 degrees, right-handed")
    left = ELEMENT_NAMES.index("strand-strand, 0 to 45 degrees, left-handed")
    seen = 0
    for coords in chains:
        graph = featurize(coords, torch.tensor([0, len(coords)]), 0)
        residues = known_residues(coords[:, 1], graph)
        elements = find_element_axes(graph, residues)
        mirror = torch.tensor([-1.0, 1.0, 1.0])
        image = replace(elements, middle=elements.middle * mirror, axis=elements.axis * mirror)
        own, other = (element_numbers(e, residues, pair_residues(residues))[0] for e in (elements, image))
        assert (own[left], own[right]) == (other[right], other[left])
        seen += int(own[left] != own[right])
    assert seen


def test_a_mirrored_chain_has_other_numbers(chains):
    mirrored = [coords * torch.tensor([-1.0, 1.0, 1.0]) for coords in chains]
    assert not torch.allclose(fold(*mirrored), fold(*chains))


def test_batch_mates_change_nothing(chains):
    together = fold(*chains)
    for i, coords in enumerate(chains):
        torch.testing.assert_close(fold(coords)[0], together[i], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "coords",
    [
        torch.zeros(1, 4, 3),
        torch.zeros(12, 4, 3),
        torch.full((5, 4, 3), torch.nan),
        torch.tensor([[[0.0, 0, 0], [1.5, 0, 0], [2.0, 1.4, 0], [torch.nan] * 3]]).repeat(2, 1, 1),
        torch.zeros(30, 4, 3).index_fill(0, torch.arange(1, 30, 2), torch.nan),
        torch.randn(40, 4, 3, generator=torch.Generator().manual_seed(0)) * 9000,
        LINE.expand(12, 4, 3),
    ],
    ids=["one residue", "all in one place", "nothing known", "two the same", "every other", "far apart", "a line"],
)
def test_all_numbers_are_finite(coords, chains):
    numbers = fold(coords, chains[0])
    assert numbers.shape == (2, FOLD_WIDTH) and numbers.dtype == torch.float32
    assert numbers.isfinite().all()
    assert fold(coords).isfinite().all()
