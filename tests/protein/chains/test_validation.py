"""Checks of backbone coordinates."""

import numpy as np
import pytest

from partoken.protein.chains.validation import UnusableChain, find_flaws, validate


def test_good_coordinates_stay_unchanged(chains):
    points, count = validate(chains[0].coords)
    np.testing.assert_array_equal(points, chains[0].coords)
    assert points.dtype == np.float32 and count == 0


def test_an_atom_that_is_infinite_or_too_far_away_is_missing(chains):
    coords = chains[0].coords.astype(float)
    coords[3, 3], coords[5, 3] = np.inf, 9999.0
    points, count = validate(coords)
    assert np.isnan(points[[3, 5], 3]).all() and np.isfinite(points[[3, 5], :3]).all()
    assert count == 0


def test_a_residue_with_an_impossible_bond_is_removed_and_counted(chains):
    coords = chains[0].coords.copy()
    coords[4, 3] += 5
    points, count = validate(coords)
    assert np.isnan(points[4]).all() and count == 1
    assert np.isfinite(np.delete(points, 4, axis=0)).all()


def test_the_flaws_of_chains_one_after_another_are_those_of_each(chains):
    coords = [one.coords.astype(float) for one in chains[:3]]
    coords[0][4, 3] += 5
    coords[1][0] = coords[0][-1]  # two chains meet: not a flaw
    coords[2][[3, 7], 1] = np.nan
    coords[2][9] = coords[2][8]
    starts = np.cumsum([0, *map(len, coords[:-1])])
    together = find_flaws(np.concatenate(coords), starts)
    assert together.impossible.sum() >= 2
    for start, one in zip(starts, coords, strict=True):
        flaws = find_flaws(one)
        np.testing.assert_array_equal(together[start : start + len(one)].missing, flaws.missing)
        np.testing.assert_array_equal(together[start : start + len(one)].impossible, flaws.impossible)


@pytest.mark.parametrize(
    "change, options, message",
    [
        (lambda c: c[:7], {}, "too short: 7 of 7 residues have N, CA and C, data.min_length=10 are needed"),
        (lambda c: c, {"max_length": 20}, "too long: .* data.max_length=20 are allowed"),
        (lambda c: np.where(np.arange(4)[:, None] == 1, c, np.nan), {}, "only CA atoms"),
        (lambda c: c / 10, {}, "impossible geometry"),
    ],
    ids=["short", "long", "only CA", "nanometres"],
)
def test_an_unusable_chain_is_refused_with_the_reason(chains, change, options, message):
    with pytest.raises(UnusableChain, match=message):
        validate(change(chains[0].coords), **options)
