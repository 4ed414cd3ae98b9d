"""Agreement of two explanations: partitions, rankings, tokens."""

from dataclasses import replace

import numpy as np
import pytest

from partoken.protein.answers import LabelAnswer, Prediction
from partoken.protein.explanation_checks.agreement import compare_explanations, rand_index, rank_correlation

ONE = Prediction(
    id="x",
    file="",
    answers={"": LabelAnswer("a", {"a": 0.7, "b": 0.3})},
    tokens=[4, 9],
    importance=[0.5, 0.5],
    residues=[[0, 1, 2], [4, 5]],
    residue_importance=[0.1, 0.2, 0.3, 0.0, 0.25, 0.15],
)


def test_an_explanation_agrees_with_itself():
    agreement = {"same class": 1.0, "importance": 1.0, "partition": 1.0, "tokens": 1.0}
    assert compare_explanations(ONE, ONE, same_codes=True) == agreement
    assert compare_explanations(ONE, ONE, same_codes=False) == agreement


def test_other_numbers_of_substructures_are_the_same_partition():
    swapped = replace(ONE, residues=ONE.residues[::-1], tokens=ONE.tokens[::-1])
    assert compare_explanations(ONE, swapped, same_codes=True)["partition"] == 1.0
    assert compare_explanations(ONE, swapped, same_codes=True)["tokens"] == 1.0


def test_codes_of_another_codebook_are_compared_by_what_they_group():
    other = replace(ONE, tokens=[0, 1])
    assert compare_explanations(ONE, other, same_codes=True)["tokens"] == pytest.approx(1 / 6), "the residue in none"
    assert compare_explanations(ONE, other, same_codes=False)["tokens"] == 1.0


def test_without_substructures_or_codes_only_the_rest_is_compared():
    no_parts = replace(ONE, residues=[], tokens=[], importance=[])
    assert set(compare_explanations(ONE, no_parts, same_codes=True)) == {"same class", "importance"}
    assert "tokens" not in compare_explanations(ONE, replace(ONE, tokens=[-1, -1]), same_codes=True)


def test_the_rand_index_is_that_of_the_textbook():
    # Two partitions of six with one element in another group: pairs together 4, in one 6, in two 7 of 15.
    one, two = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1])
    expected = 6 * 7 / 15
    assert rand_index(one, two) == pytest.approx((4 - expected) / (6.5 - expected))


def test_the_rand_index_of_random_partitions_is_near_zero():
    random = np.random.default_rng(0)
    values = [rand_index(random.integers(4, size=200), random.integers(4, size=200)) for _ in range(50)]
    assert abs(np.mean(values)) < 0.01


def test_reversed_rankings_have_the_correlation_minus_one_and_a_flat_one_none():
    ranking = np.arange(5.0)
    assert rank_correlation(ranking, -ranking) == -1.0
    assert rank_correlation(ranking, np.ones(5)) == 0.0
