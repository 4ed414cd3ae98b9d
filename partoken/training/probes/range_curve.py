"""The curve of a learning rate range test: smoothing, divergence, suggestion.

References:
    Smith 2017, Cyclical learning rates for training neural networks, https://arxiv.org/abs/1506.01186: the test.
    Bengio 2012, Practical recommendations for gradient-based training of deep architectures,
    https://arxiv.org/abs/1206.5533: the best rate is usually not far below the largest one that does not diverge.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from partoken.system.tables import write_table

__all__ = ["FIELDS", "RangeCurve", "analyse", "explosion", "write_curve"]

FIELDS = ("step", "lr", "loss", "smoothed")

SMOOTHING = 0.03
"""Standard deviation of the Gaussian that smooths the loss, as a fraction of the steps."""
LATEST = 5
"""Steps whose mean loss decides whether the test stops."""
EXPLODED = 3.0
"""Rise above the minimum at which the test stops, in units of the minimum, or of the fall until there if it is larger.
For a positive loss that falls to no less than half, the test stops at four times the minimum."""


@dataclass(frozen=True)
class RangeCurve:
    """The losses of a range test, and the rates that they suggest."""

    rates: Sequence[float]
    losses: Sequence[float]
    """Mean training loss of the batches of each step, before its update."""
    smoothed: Sequence[float]
    divergence: float | None
    """Rate at which the smoothed loss has risen from its minimum; None: it did not."""
    steepest: float | None
    """Rate at which the smoothed loss falls fastest before its minimum; None: it does not fall."""

    @property
    def marks(self) -> dict[str, float]:
        """The rates that are known, by what they are."""
        named = {"steepest descent": self.steepest, "divergence": self.divergence, "suggestion": self.suggestion}
        return {name: rate for name, rate in named.items() if rate is not None}

    @property
    def suggestion(self) -> float | None:
        """A tenth of `divergence`, or `steepest` if the loss did not diverge; None: the loss does neither.

        In the test, a rate acts for one step only. The factor of ten is the margin for a training that stays at it.
        """
        return self.steepest if self.divergence is None else self.divergence / 10


def analyse(rates: Sequence[float], losses: Sequence[float]) -> RangeCurve:
    """Smooths the losses of a range test and finds the rates that it suggests.

    The smoothed loss is a Gaussian mean over the logarithm of the rate. Up to its minimum, it falls fastest where its
    slope over that logarithm is least. After its minimum, it diverges at the first rate where

        smoothed > minimum + max((first - minimum) / 2, deviation)

    with the standard deviation of single losses from the smoothed one, up to the minimum. If the test stopped before,
    the loss diverges at its last rate.

    Arguments:
        rates: of each step, rising.
        losses: of each step; NaN and infinity are allowed.
    """
    end = explosion(losses)
    usable = list(losses if end is None else losses[:end])
    smoothed = _smooth(usable, SMOOTHING * len(rates))
    padded = [*smoothed, *[math.nan] * (len(losses) - len(smoothed))]
    if not smoothed:
        return RangeCurve(list(rates), list(losses), padded, rates[0], None)
    lowest = smoothed.index(min(smoothed))
    noise = math.sqrt(sum((usable[i] - smoothed[i]) ** 2 for i in range(lowest + 1)) / (lowest + 1))
    limit = smoothed[lowest] + max((smoothed[0] - smoothed[lowest]) / 2, noise)
    risen = next((i for i in range(lowest, len(smoothed)) if smoothed[i] > limit), end)
    slopes = [(smoothed[i + 1] - smoothed[i - 1]) / math.log(rates[i + 1] / rates[i - 1]) for i in range(1, lowest)]
    return RangeCurve(
        rates=list(rates),
        losses=list(losses),
        smoothed=padded,
        divergence=None if risen is None else rates[risen],
        steepest=rates[1 + slopes.index(min(slopes))] if slopes and min(slopes) < 0 else None,
    )


def write_curve(curve: RangeCurve, path: Path) -> None:
    """Writes the curve as a CSV table with the columns `FIELDS`; a loss that is not finite is an empty cell.

    Raises:
        OSError: the table cannot be written.
    """
    steps = enumerate(zip(curve.rates, curve.losses, curve.smoothed, strict=True))
    rows = [dict(zip(FIELDS, (step, *map(_cell, values)), strict=True)) for step, values in steps]
    write_table(path, FIELDS, rows)


def explosion(losses: Sequence[float]) -> int | None:
    """Returns the number of the step at which a range test stops because of its loss; None: it goes on.

    Arguments:
        losses: of each step.
    """
    means: list[float] = []
    for i, loss in enumerate(losses):
        if not math.isfinite(loss):
            return i
        latest = losses[max(0, i - LATEST + 1) : i + 1]
        means.append(sum(latest) / len(latest))
        least = min(means)
        if means[-1] - least > EXPLODED * max(abs(least), means[0] - least):
            return i
    return None


def _smooth(values: Sequence[float], deviation: float) -> list[float]:
    """Returns Gaussian means over the positions of the values, which are cut off at three deviations."""
    reach = math.ceil(3 * deviation)
    smoothed = []
    for i in range(len(values)):
        near = range(max(0, i - reach), min(len(values), i + reach + 1))
        weights = [math.exp(-(((j - i) / deviation) ** 2) / 2) for j in near]
        smoothed.append(sum(w * values[j] for w, j in zip(weights, near, strict=True)) / sum(weights))
    return smoothed


def _cell(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""
