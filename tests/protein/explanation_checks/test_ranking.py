"""Scores of rankings: equal to counting over all orders of equal residues."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from partoken.protein.explanation_checks import ranking
from partoken.protein.explanation_checks.ranking import score_ranking, share_inside


def plain_scores(importance, known):
    """Averages over every order that has no residue before a more important one."""
    length = len(importance)
    orders = [
        order
        for order in permutations(range(length))
        if all(importance[a] >= importance[b] for a, b in pairwise(order))
    ]
    top, few = -(-length // 10), min(ranking.FEW, length)
    tenth = np.mean([[residue in order[:top] for residue in known] for order in orders])
    every = np.mean([all(residue in order[:few] for residue in known) for order in orders])
    places = np.mean([[order.index(residue) / length for residue in known] for order in orders], axis=0)
    return tenth, every, np.median(places)


@pytest.mark.parametrize(
    "importance",
    [[3, 1, 2, 5, 4, 0, 6], [1, 1, 1, 0, 0, 2, 2], [0] * 7, [2, 2, 1, 1, 1, 1, 0]],
    ids=["all differ", "ties", "all equal", "ties at the border"],
)
@pytest.mark.parametrize("known", [[0], [2, 5], [0, 1, 3]])
def test_scores_are_means_over_all_orders_of_equal_residues(monkeypatch, importance, known):
    monkeypatch.setattr(ranking, "FEW", 3)
    scores = score_ranking(np.array(importance, float), known)
    expected = plain_scores(importance, known)
    assert (scores.in_top_tenth, scores.all_in_top_20, scores.median_rank) == pytest.approx(expected)


def test_a_tenth_is_rounded_up():
    importance = -np.arange(21.0)
    assert score_ranking(importance, [2]).in_top_tenth == 1
    assert score_ranking(importance, [3]).in_top_tenth == 0


def test_a_residue_that_cannot_be_ranked_comes_last():
    scores = score_ranking(np.array([np.nan, *np.arange(30.0)]), [0])
    assert scores.in_top_tenth == 0 and scores.all_in_top_20 == 0 and scores.median_rank == pytest.approx(30 / 31)


def test_a_random_ranking_scores_what_chance_gives():
    rng = np.random.default_rng(0)
    scores = [score_ranking(rng.random(200), rng.choice(200, 3, replace=False)) for _ in range(2000)]
    assert np.mean([one.in_top_tenth for one in scores]) == pytest.approx(0.1, abs=0.015)
    assert np.mean([one.median_rank for one in scores]) == pytest.approx(0.5, abs=0.02)


def test_the_most_important_substructures_are_taken_first_and_a_residue_in_none_is_not_found():
    shares = share_inside([[0, 1], [2], [3, 4]], [0.1, 0.6, 0.3], known=[0, 2, 4, 9], counts=[1, 2, 5])
    assert shares == {1: 0.25, 2: 0.5, 5: 0.75}
