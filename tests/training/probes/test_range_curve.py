"""The curve of a range test: where the loss falls and diverges, and which rate is suggested."""

import math

import numpy as np
import pytest

from partoken.system.tables import read_table
from partoken.training.probes.range_curve import analyse, explosion, write_curve

RATES = np.geomspace(1e-6, 1.0, 100).tolist()


def curve(fall=1e-3, rise=0.1, noise=0.0, seed=0):
    """Returns losses that fall from 2 to 1 around one rate and rise from another one."""
    down = 2 - 1 / (1 + (fall / np.array(RATES)) ** 2)
    up = np.maximum(0, np.array(RATES) / rise - 1)
    return (down + up + noise * np.random.default_rng(seed).standard_normal(100)).tolist()


def test_fall_and_divergence_are_found_where_they_were_put():
    found = analyse(RATES, curve())
    assert found.steepest == pytest.approx(1e-3, rel=0.3)
    # The loss has regained half of its fall at rise * 1.5.
    assert found.divergence == pytest.approx(0.15, rel=0.3)
    assert found.suggestion == found.divergence / 10


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_single_batches_moves_the_suggestion_little(seed):
    found = analyse(RATES, curve(noise=0.3, seed=seed))
    assert found.suggestion == pytest.approx(0.015, rel=0.7)


@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_the_unit_of_the_loss_does_not_matter(factor):
    losses = curve(noise=0.1)
    scaled = analyse(RATES, [factor * loss for loss in losses])
    assert scaled.marks == pytest.approx(analyse(RATES, losses).marks)


def test_a_negative_loss_is_treated_like_a_positive_one():
    losses = curve(noise=0.1)
    shifted = analyse(RATES, [loss - 10 for loss in losses])
    assert shifted.marks == pytest.approx(analyse(RATES, losses).marks)


def test_a_loss_that_is_not_finite_diverges_there():
    found = analyse(RATES[:51], [*curve()[:50], math.nan])
    assert found.divergence == RATES[50]
    assert math.isnan(found.smoothed[50]) and not math.isnan(found.smoothed[49])


def test_a_loss_that_only_falls_suggests_its_steepest_descent():
    found = analyse(RATES, curve(rise=1e9))
    assert found.divergence is None
    assert found.suggestion == found.steepest == pytest.approx(1e-3, rel=0.3)


def test_a_constant_loss_suggests_nothing():
    assert analyse(RATES, [2.0] * 100).marks == {}


def test_a_loss_that_explodes_at_once_has_no_descent():
    found = analyse(RATES[:1], [math.inf])
    assert (found.steepest, found.divergence) == (None, RATES[0])


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ([1.0, 1.0, math.inf], 2),
        ([1.0] * 9 + [99.0], 9),
        ([1.0] * 9 + [9.0], None),  # the mean of the latest five is 2.6
        ([8.0, 4.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.1], None),
        ([-5.0] * 5 + [-4.0] * 5, None),
        ([-5.0] * 5 + [90.0], 5),
    ],
)
def test_the_test_stops_far_above_the_minimum(losses, step):
    assert explosion(losses) == step


def test_the_table_has_every_step(tmp_path):
    write_curve(analyse(RATES[:51], [*curve()[:50], math.nan]), tmp_path / "curve.csv")
    rows = read_table(tmp_path / "curve.csv")
    assert [float(row["lr"]) for row in rows] == RATES[:51]
    assert [float(row["loss"]) for row in rows[:50]] == curve()[:50]
    assert (rows[50]["step"], rows[50]["loss"], rows[50]["smoothed"]) == ("50", "", "")
