"""Pocket scores: equal to a slow plain form, and high where protein stands on several sides."""

import itertools
import math

import numpy as np
import pytest

from partoken.protein.geometry.pocket import pocket_scores


def plain_scores(atoms, points):
    """Computes the scores point by point, with a set of the grid points inside the protein."""
    low = np.floor(atoms.min(0) / 1.3).astype(int) - 4
    high = np.ceil(atoms.max(0) / 1.3).astype(int) + 4
    grid = list(itertools.product(*(range(a, b + 1) for a, b in zip(low, high, strict=True))))
    inside = {p for p in grid if (np.square(np.array(p) * 1.3 - atoms).sum(1) <= 3.5**2).any()}
    scores = np.zeros(len(points))
    for p in set(grid) - inside:
        count = 0
        for d in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)]:
            steps = range(1, int(20 / (1.3 * math.sqrt(sum(map(abs, d))))) + 1)
            sides = (
                any((p[0] + s * k * d[0], p[1] + s * k * d[1], p[2] + s * k * d[2]) in inside for k in steps)
                for s in (1, -1)
            )
            count += all(sides)
        if count >= 2:
            square = np.square(np.array(p) * 1.3 - points).sum(1)
            scores += count * np.exp(-square / 18) * (square <= 36)
    return scores


@pytest.mark.parametrize("seed", range(2))
def test_scores_equal_those_of_a_plain_form(seed):
    generator = np.random.default_rng(seed)
    atoms = generator.normal(size=(10, 3)) * (4, 5, 6)
    points = atoms[:6] + generator.normal(size=(6, 3))
    expected = plain_scores(atoms, points)
    assert expected.max() > 1
    np.testing.assert_allclose(pocket_scores(atoms, points), expected, rtol=1e-5)


def test_scores_equal_those_of_a_plain_form_where_the_protein_is_farther_than_the_reach():
    atoms = np.array([[0.0, 0, 0], [9, 0, 0], [32, 0, 0], [0, 12, 0], [0, 33, 0], [5, 5, 5]])
    np.testing.assert_allclose(pocket_scores(atoms, atoms), plain_scores(atoms, atoms), rtol=1e-5)


def test_a_single_atom_has_no_pocket():
    assert pocket_scores(np.zeros((1, 3)), np.zeros((1, 3))).tolist() == [0.0]


def test_the_middle_of_a_hollow_ball_scores_more_than_its_outside():
    i = np.arange(400)
    height, angle = 1 - 2 * (i + 0.5) / 400, i * math.pi * (3 - math.sqrt(5))
    ring = np.sqrt(1 - height**2)
    ball = 9 * np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    inside, outside = pocket_scores(ball, np.array([[0.0, 0, 0], [20, 0, 0]]))
    assert inside > 100 and outside == 0
