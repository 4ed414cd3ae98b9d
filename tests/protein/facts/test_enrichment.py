"""Which classes go with which tokens."""

import numpy as np
import pytest
from scipy.stats import fisher_exact

from partoken.protein.facts.enrichment import enrichments


def test_the_numbers_of_a_small_table_are_those_of_a_hand_calculation():
    # 10 chains, 4 of class a, 5 with the token, 4 with both: C(4,4) C(6,1) / C(10,5) = 6 / 252.
    tokens = [{1}] * 5 + [set() for _ in range(5)]
    groups = [{"a"}] * 4 + [{"b"}] * 6
    [of_a, of_b] = enrichments(tokens, groups)
    assert (of_a.group, of_a.together, of_a.expected, of_a.enrichment) == ("a", 4, 2.0, 2.0)
    assert of_a.p == pytest.approx(6 / 252)
    assert of_a.q == pytest.approx(2 * 6 / 252)  # two tests, and this is the smaller p
    assert of_b.p == pytest.approx(1) and of_b.together == 1


def test_p_is_that_of_the_exact_test_of_fisher():
    rng = np.random.default_rng(0)
    tokens = [set(np.flatnonzero(rng.random(3) < 0.4).tolist()) for _ in range(60)]
    groups = [{"ab"[int(rng.integers(2))]} for _ in tokens]
    for pair in enrichments(tokens, groups):
        has = np.array([pair.token in of_chain for of_chain in tokens])
        inside = np.array([pair.group in of_chain for of_chain in groups])
        table = [[(has & inside).sum(), (has & ~inside).sum()], [(~has & inside).sum(), (~has & ~inside).sum()]]
        assert pair.p == pytest.approx(fisher_exact(table, alternative="greater").pvalue)


def test_pairs_that_never_occur_count_as_tests():
    tokens, groups = [{1}] * 3 + [{2}] * 3, [{"a"}] * 3 + [{"b"}] * 3
    found = enrichments(tokens, groups)
    assert [(pair.token, pair.group) for pair in found] == [(1, "a"), (2, "b")]
    assert found[0].p == pytest.approx(1 / 20)
    assert found[0].q == pytest.approx(2 / 20)  # four tests, of which two have this p


def test_a_chain_of_several_classes_counts_for_each():
    found = enrichments([{1}, set()], [{"a", "b"}, {"b"}])
    assert {pair.group: pair.expected for pair in found} == {"a": 0.5, "b": 1.0}


def test_random_tokens_are_seldom_significant():
    rng = np.random.default_rng(1)
    tokens = [set(rng.integers(0, 40, 5).tolist()) for _ in range(80)]
    found = enrichments(tokens, [{int(rng.integers(4))} for _ in tokens])
    assert sum(pair.p < 0.05 for pair in found) > 0
    assert sum(pair.q < 0.05 for pair in found) == 0


def test_without_chains_there_is_nothing():
    assert enrichments([], []) == []
