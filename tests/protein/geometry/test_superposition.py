"""The deviation of traces after superposition."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from partoken.protein.geometry.superposition import rmsd

RNG = np.random.default_rng(0)
TRACE = RNG.normal(size=(9, 3)) * 5


def test_rotation_and_translation_do_not_matter():
    moved = TRACE @ Rotation.random(rng=1).as_matrix().T + 40
    assert rmsd(TRACE, moved) == pytest.approx(0, abs=1e-6)


def test_a_mirror_image_does_not_fit():
    assert rmsd(TRACE, TRACE * [1, 1, -1]) > 1


def test_a_trace_of_twice_the_size_deviates_by_its_radius_of_gyration():
    centred = TRACE - TRACE.mean(0)
    assert rmsd(TRACE, 2 * TRACE) == pytest.approx(np.sqrt((centred**2).sum(1).mean()))


def test_two_pairs_of_points_deviate_by_half_the_difference_of_their_distances():
    one, two = np.array([[0.0, 0, 0], [4, 0, 0]]), np.array([[0.0, 0, 0], [0, 6, 0]])
    assert rmsd(one, two) == pytest.approx(1)


def test_many_pairs_give_what_each_gives_alone():
    ones, twos = RNG.normal(size=(4, 1, 6, 3)), RNG.normal(size=(1, 5, 6, 3))
    together = rmsd(ones, twos)
    assert together.shape == (4, 5)
    assert together[2, 3] == pytest.approx(rmsd(ones[2, 0], twos[0, 3]))
