"""Bins of confidence and the expected calibration error."""

import numpy as np
import pytest

from partoken.protein.facts.calibration import calibration


def test_the_error_is_the_mean_gap_weighted_by_answers():
    found = calibration([0.95, 0.95, 0.95, 0.55], [True, True, False, True])
    assert found["error"] == pytest.approx(0.75 * abs(2 / 3 - 0.95) + 0.25 * 0.45)
    assert [(one["low"], one["high"], one["count"]) for one in found["bins"]] == [(0.5, 0.6, 1), (0.9, 1.0, 3)]
    assert found["bins"][1]["accuracy"] == pytest.approx(2 / 3)


def test_answers_that_are_right_as_often_as_they_say_have_a_small_error():
    rng = np.random.default_rng(0)
    confidence = rng.random(20_000)
    assert calibration(confidence.tolist(), (rng.random(20_000) < confidence).tolist())["error"] < 0.02


def test_full_confidence_is_in_the_last_bin():
    assert calibration([1.0], [True]) == {
        "error": 0.0,
        "bins": [{"low": 0.9, "high": 1.0, "confidence": 1.0, "accuracy": 1.0, "count": 1}],
    }
