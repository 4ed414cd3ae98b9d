"""How well a ranking of residues, or of substructures, finds residues that are known to matter.

Residues of equal importance are in random order: every score is the mean over all orders, so a ranking that knows
nothing gets what chance gives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, comb

import numpy as np

__all__ = ["FEW", "RankingScores", "score_ranking", "share_inside"]

FEW = 20
"""Residues that a person would look at."""
_PART = 0.1
"""Part of a chain's residues that `in_top_tenth` is about."""


@dataclass(frozen=True)
class RankingScores:
    """Scores of the ranking of one chain's residues."""

    in_top_tenth: float
    """Fraction of the known residues among the tenth of the residues that ranks highest, rounded up."""
    all_in_top_20: float
    """Probability that all known residues are among the 20 that rank highest."""
    median_rank: float
    """Median over the known residues of the fraction of the residues that rank higher, from 0 to 1."""


def score_ranking(importance: np.ndarray, known: Sequence[int]) -> RankingScores:
    """Scores the ranking of a chain's residues by importance.

    Arguments:
        importance: Importance of each residue, `[L]`; NaN for a residue that cannot be ranked, which then comes last.
        known: Positions of the known residues, counted from 0, each once; one or more.

    Example:
        >>> score_ranking(np.array([0.1, 0.9, 0.5, 0.0]), [1, 2])
        RankingScores(in_top_tenth=0.5, all_in_top_20=1.0, median_rank=0.125)
    """
    importance = np.where(np.isnan(importance), -np.inf, importance)
    of_known = importance[list(known)]
    higher = (importance[None] > of_known[:, None]).sum(1)
    equal = (importance[None] == of_known[:, None]).sum(1)
    top = ceil(_PART * len(importance))
    ranks = (higher + (equal - 1) / 2) / len(importance)
    return RankingScores(
        in_top_tenth=float(((top - higher) / equal).clip(0, 1).mean()),
        all_in_top_20=_probability_of_all(importance, of_known, min(FEW, len(importance))),
        median_rank=float(np.median(ranks)),
    )


def share_inside(
    substructures: Sequence[Sequence[int]], importance: Sequence[float], known: Sequence[int], counts: Sequence[int]
) -> Mapping[int, float]:
    """Computes the fraction of the known residues inside the most important substructures of a chain.

    Arguments:
        substructures: Residues of each substructure, counted from 0; a residue may be in none.
        importance: Importance of each substructure; equal ones are taken in the order in which they are given.
        known: Positions of the known residues, each once; one or more.
        counts: Numbers of substructures to look into.

    Example:
        >>> share_inside([[0, 1], [2, 3]], [0.2, 0.8], known=[1, 3], counts=[1, 2])
        {1: 0.5, 2: 1.0}
    """
    order = sorted(range(len(substructures)), key=lambda number: -importance[number])
    shares = {}
    for count in counts:
        inside = {residue for number in order[:count] for residue in substructures[number]}
        shares[count] = sum(residue in inside for residue in known) / len(known)
    return shares


def _probability_of_all(importance: np.ndarray, of_known: np.ndarray, count: int) -> float:
    """Returns the probability that all known residues are among the first `count` of a random order of equal ones."""
    last = np.sort(importance)[::-1][count - 1]  # the importance at which the first ones end
    if (of_known < last).any():
        return 0.0
    tied, places = int((importance == last).sum()), count - int((importance > last).sum())
    known = int((of_known == last).sum())
    return comb(tied - known, places - known) / comb(tied, places) if known <= places else 0.0
