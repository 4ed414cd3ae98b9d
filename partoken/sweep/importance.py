"""How much of a metric's variance each key explains, and which keys cannot be told apart; imports no torch."""

import bisect
import itertools
import json
import math
import statistics
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Importance", "association", "eta_squared", "key_importance", "levels"]

MAX_LEVELS = 4
"""Numbers with more distinct values than this are put into quartile bins."""
MIN_PER_LEVEL = 2
"""Mean number of jobs per level below which there are too few jobs."""
CONFOUNDED = 0.5
"""Association of two keys above which their shares cannot be told apart."""


@dataclass(frozen=True)
class Importance:
    """The share of a metric's variance that a key explains."""

    key: str
    share: float | None
    """Eta squared, 0 to 1; None if there are too few jobs."""
    by_chance: float | None
    """The share that a key without effect has on average."""
    num_levels: int
    num_jobs: int
    confounded_with: tuple[str, ...]
    """Keys that change together with this one."""


def key_importance(columns: Mapping[str, Sequence[Any]], values: Sequence[float]) -> list[Importance]:
    """Returns the importance of each key, largest first.

    Arguments:
        columns: the values of each key, one per job.
        values: the metric of each job.
    """
    coded = {key: levels(column) for key, column in columns.items()}
    together: dict[str, list[str]] = {key: [] for key in coded}
    for one, other in itertools.combinations(coded, 2):
        if association(coded[one], coded[other]) > CONFOUNDED:
            together[one].append(other)
            together[other].append(one)
    found = []
    for key, codes in coded.items():
        num_levels, num_jobs = len(set(codes)), len(values)
        is_enough = num_levels > 1 and num_jobs >= MIN_PER_LEVEL * num_levels
        share = eta_squared(codes, values) if is_enough else None
        by_chance = (num_levels - 1) / (num_jobs - 1) if share is not None else None
        found.append(Importance(key, share, by_chance, num_levels, num_jobs, tuple(together[key])))
    return sorted(found, key=lambda item: -1 if item.share is None else item.share, reverse=True)


def levels(column: Sequence[Any]) -> list[Hashable]:
    """Returns the level of each value: the value itself, or the quartile of a number with more than four values.

    >>> levels([1, 2, 3, 4, 5, 6, 7, 8])
    [0, 0, 1, 1, 2, 2, 3, 3]
    >>> levels(["sgd", "adam", "sgd"])
    ['"sgd"', '"adam"', '"sgd"']
    """
    are_numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in column)
    if are_numbers and len(set(column)) > MAX_LEVELS:
        edges = statistics.quantiles(column, n=4, method="inclusive")
        return [bisect.bisect_left(edges, value) for value in column]
    return [_text(value) for value in column]


def eta_squared(codes: Sequence[Hashable], values: Sequence[float]) -> float | None:
    """Returns the share of the variance between levels, the main effect of a one-way analysis of variance.

    `eta^2 = SS_between / SS_total = sum_g n_g (mean_g - mean)^2 / sum_i (y_i - mean)^2`. With `k` levels and `n` jobs,
    a key without effect has `(k - 1) / (n - 1)` on average.

    References:
        J. Cohen, Eta-squared and partial eta-squared in fixed factor ANOVA designs, Educational and Psychological
        Measurement 33 (1973) 107-112.

    Arguments:
        codes: the level of each job.
        values: the metric of each job.

    Returns:
        None if all values are equal.

    >>> eta_squared(["a", "a", "b", "b"], [1.0, 3.0, 5.0, 7.0])
    0.8
    """
    mean = math.fsum(values) / len(values)
    total = math.fsum((value - mean) ** 2 for value in values)
    if total == 0:
        return None
    members: dict[Hashable, list[float]] = {}
    for code, value in zip(codes, values, strict=True):
        members.setdefault(code, []).append(value)
    between = math.fsum(len(own) * (math.fsum(own) / len(own) - mean) ** 2 for own in members.values())
    return min(1.0, between / total)


def association(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Returns how closely two keys change together: Cramér's V, corrected for its bias; 0 to 1.

    References:
        W. Bergsma, A bias-correction for Cramér's V and Tschuprow's T, Journal of the Korean Statistical Society 42
        (2013) 323-328.

    Arguments:
        one: the level of each job.
        other: the same for another key.

    >>> round(association([0, 0, 1, 1], [0, 0, 1, 1]), 6), association([0, 0, 1, 1], [0, 1, 0, 1])
    (1.0, 0.0)
    """
    num_jobs = len(one)
    rows, columns, cells = Counter(one), Counter(other), Counter(zip(one, other, strict=True))
    if num_jobs < 2 or len(rows) < 2 or len(columns) < 2:
        return 0.0
    expected = {(r, c): rows[r] * columns[c] / num_jobs for r in rows for c in columns}
    phi = sum((cells[cell] - count) ** 2 / count for cell, count in expected.items()) / num_jobs
    corrected = max(0.0, phi - (len(rows) - 1) * (len(columns) - 1) / (num_jobs - 1))
    sides = [count - (count - 1) ** 2 / (num_jobs - 1) for count in (len(rows), len(columns))]
    smaller = min(sides) - 1
    return min(1.0, math.sqrt(corrected / smaller)) if smaller > 0 else 1.0


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
