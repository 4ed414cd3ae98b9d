"""The share of variance that keys explain, against an analysis of variance by scipy and by hand."""

import itertools
import random

import pytest
from scipy import stats

from partoken.sweep.importance import association, eta_squared, key_importance, levels


def test_eta_squared_agrees_with_the_f_statistic_of_scipy():
    generator = random.Random(0)
    codes = [generator.choice("abc") for _ in range(40)]
    values = [ord(code) * 0.3 + generator.gauss(0, 1) for code in codes]
    samples = [[value for code, value in zip(codes, values, strict=True) if code == own] for own in "abc"]
    statistic = stats.f_oneway(*samples).statistic
    expected = 2 * statistic / (2 * statistic + 40 - 3)  # F = (SS_between / 2) / (SS_within / 37)
    assert eta_squared(codes, values) == pytest.approx(expected, rel=1e-12)


def test_a_metric_without_spread_has_no_share():
    assert eta_squared(["a", "b"], [0.5, 0.5]) is None


def test_the_shares_of_a_full_design_without_interaction_are_those_computed_by_hand():
    design = list(itertools.product([1, 2, 3], ["on", "off"], [1, 2]))
    values = [3.0 * a + (1.0 if b == "on" else 0.0) for a, b, _ in design]
    columns = dict(zip(("train.lr", "x", "train.seed"), zip(*design, strict=True), strict=True))
    found = {item.key: item for item in key_importance(columns, values)}
    # variances 6 and 0.25 add up to 6.25
    assert found["train.lr"].share == pytest.approx(6 / 6.25)
    assert found["x"].share == pytest.approx(0.25 / 6.25)
    assert found["train.seed"].share == pytest.approx(0, abs=1e-12)
    assert [item.by_chance for item in found.values()] == pytest.approx([2 / 11, 1 / 11, 1 / 11])
    assert all(item.confounded_with == () for item in found.values())
    assert list(found) == ["train.lr", "x", "train.seed"]


def test_the_share_by_chance_is_the_mean_share_of_a_key_without_effect():
    generator = random.Random(1)
    codes = [0, 1, 2] * 5
    shares = [eta_squared(codes, [generator.gauss(0, 1) for _ in codes]) for _ in range(3000)]
    assert sum(shares) / len(shares) == pytest.approx(2 / 14, abs=0.01)


def test_keys_that_change_together_are_named():
    columns = {"a": [1, 1, 2, 2] * 3, "b": ["x", "x", "y", "y"] * 3, "c": [1, 2] * 6}
    found = {item.key: item.confounded_with for item in key_importance(columns, list(map(float, range(12))))}
    assert found == {"a": ("b",), "b": ("a",), "c": ()}


def test_independent_random_keys_are_not_called_confounded():
    generator = random.Random(2)
    drawn = {name: [generator.random() for _ in range(30)] for name in "abcd"}
    assert all(not item.confounded_with for item in key_importance(drawn, [generator.random() for _ in range(30)]))


def test_too_few_jobs_give_no_share():
    [item] = key_importance({"a": [1, 2, 3]}, [0.1, 0.2, 0.3])
    assert (item.share, item.by_chance, item.num_levels) == (None, None, 3)
    assert key_importance({"a": []}, [])[0].share is None


def test_numbers_with_more_than_four_values_are_put_into_quartiles():
    values = [10.0 ** (-i / 7) for i in range(40)]
    assert sorted({code: levels(values).count(code) for code in set(levels(values))}.values()) == [10, 10, 10, 10]
    assert len(set(levels([1, 2, 3, 4]))) == 4
    assert len(set(levels([None, 1, 2, 3, 4, 5]))) == 6


def test_the_association_is_symmetric_and_agrees_with_the_chi_squared_of_scipy():
    one, other = [0, 0, 1, 1, 1, 2, 2, 2, 0, 1], [1, 1, 0, 0, 1, 0, 1, 0, 1, 0]
    counts = [[sum((a, b) == (i, j) for a, b in zip(one, other, strict=True)) for j in range(2)] for i in range(3)]
    phi = stats.chi2_contingency(counts, correction=False).statistic / 10
    corrected = max(0, phi - 2 * 1 / 9)
    expected = (corrected / min(3 - 4 / 9 - 1, 2 - 1 / 9 - 1)) ** 0.5
    assert association(one, other) == pytest.approx(expected)
    assert association(other, one) == pytest.approx(expected)
