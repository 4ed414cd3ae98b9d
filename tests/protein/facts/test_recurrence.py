"""Whether shapes of a token recur."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from partoken.protein.facts.recurrence import WINDOW, Trace, recurrences

RNG = np.random.default_rng(0)


def walk(length):
    steps = RNG.normal(size=(length, 3))
    return (steps / np.linalg.norm(steps, axis=1, keepdims=True) * 3.8).cumsum(0)


def moved(points, chain):
    return Trace(chain, points @ Rotation.random(rng=chain).as_matrix().T + chain)


SHAPE = walk(WINDOW)


def test_a_shape_inside_larger_substructures_recurs():
    same = [moved(np.concatenate([walk(chain % 4), SHAPE, SHAPE[-1:] + walk(3)]), chain) for chain in range(8)]
    other = [Trace(chain, walk(WINDOW)) for chain in range(8)]
    found = recurrences({3: same, 5: other})
    assert found[3].aligned == found[3].tried == 28  # all pairs of eight
    assert found[3].rmsd_median == pytest.approx(0, abs=1e-5)
    assert found[3].by_chance < 0.2 and found[5].aligned < 0.2 * found[5].tried


def test_pairs_of_one_chain_are_not_tried():
    found = recurrences({1: [Trace(0, SHAPE), Trace(0, SHAPE)]})
    assert found[1] == (0, 0, None, None)


def test_substructures_that_are_too_short_are_not_tried():
    gap = SHAPE.copy()
    gap[2] = np.nan
    assert recurrences({1: [Trace(0, gap), Trace(1, SHAPE)]})[1].tried == 0
