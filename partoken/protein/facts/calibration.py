"""Whether confidence means what it says: answers in bins of their confidence."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["NUM_BINS", "calibration"]

NUM_BINS = 10
"""Bins of equal width between 0 and 1."""


def calibration(confidence: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    """Compares the confidence of answers with the fraction that is right.

    The expected calibration error is the mean over the answers of |accuracy - mean confidence| of their bin.

    References:
        Obtaining well calibrated probabilities using Bayesian binning (Naeini et al., AAAI 2015).

    Arguments:
        confidence: Probability of each answer, 0 to 1.
        right: True where the answer is right.

    Returns:
        `error`, and `bins`: `low`, `high`, mean `confidence`, `accuracy` and `count` of each bin that has an answer.

    Example:
        >>> calibration([0.9, 0.9, 0.6, 0.6], [True, True, True, False])["error"]
        0.1
    """
    values, hits = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    bins, error = [], 0.0
    places = np.minimum((values * NUM_BINS).astype(int), NUM_BINS - 1)
    for number in np.unique(places).tolist():
        members = places == number
        mean, accuracy, count = float(values[members].mean()), float(hits[members].mean()), int(members.sum())
        error += abs(accuracy - mean) * count / len(values)
        bins.append(
            {
                "low": number / NUM_BINS,
                "high": (number + 1) / NUM_BINS,
                "confidence": mean,
                "accuracy": accuracy,
                "count": count,
            }
        )
    return {"error": round(error, 12), "bins": bins}
