"""Random substructures: sizes, compactness, missing residues."""

import numpy as np

from partoken.protein.chains.backbone import Backbone
from partoken.protein.explanation_checks.patches import random_patches


def line_of(length, missing=()):
    """Residues one after another on a line, 1 angstrom apart."""
    coords = np.zeros((length, 4, 3), np.float32)
    coords[:, :, 0] = np.arange(length)[:, None]
    coords[list(missing), 1] = np.nan
    return Backbone("line", coords, np.zeros(length, np.uint8))


def test_patches_have_their_sizes_do_not_overlap_and_are_compact():
    for seed in range(20):
        [first, second] = random_patches(line_of(40), [7, 5], np.random.default_rng(seed))
        assert (len(first), len(second)) == (7, 5)
        assert not set(first) & set(second)
        assert max(first) - min(first) == 6, "the nearest residues on a line are neighbours"


def test_missing_residues_are_never_drawn():
    drawn = random_patches(line_of(10, missing=[0, 4, 9]), [4, 9, 2], np.random.default_rng(0))
    assert sorted(residue for patch in drawn for residue in patch) == [1, 2, 3, 5, 6, 7, 8]


def test_every_residue_can_be_a_centre():
    drawn = {random_patches(line_of(6), [1], np.random.default_rng(seed))[0][0] for seed in range(60)}
    assert drawn == set(range(6))
