"""Scores against values worked out by hand."""

import pytest
import torch

from partoken.protein.metrics import (
    codebook_usage,
    constant_answer,
    fmax,
    multi_class_scores,
    multi_label_scores,
    partition_statistics,
)


def test_multi_class_scores():
    """True 0 0 0 1 1 2, predicted 0 0 1 1 1 0: recalls 2/3, 1, 0; F1 2/3, 4/5, 0."""
    predicted, true = torch.tensor([0, 0, 1, 1, 1, 0]), torch.tensor([0, 0, 0, 1, 1, 2])
    scores, confusion = multi_class_scores(torch.eye(3)[predicted], true)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert confusion == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_a_class_that_nobody_has_and_nobody_names_does_not_count():
    scores, _ = multi_class_scores(torch.eye(5)[[0, 1]], torch.tensor([0, 1]))
    assert scores == {"accuracy": 1.0, "balanced_accuracy": 1.0, "macro_f1": 1.0}


def test_fmax_is_the_best_over_thresholds():
    """At 0.3 both chains are named right and the second a class too many: precision 3/4, recall 1, F 6/7."""
    probability = torch.tensor([[0.9, 0.1, 0.1], [0.6, 0.35, 0.1]])
    label = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    thresholds = {0.3: (3 / 4, 1.0), 0.5: (1 / 2, 1 / 2), 0.7: (1.0, 1 / 2)}
    best = max(2 * p * r / (p + r) for p, r in thresholds.values())
    assert fmax(probability, label) == pytest.approx(best)
    assert fmax(torch.zeros(2, 3), label) == 0


def test_multi_label_scores():
    """Decisions (named / true): class 0 right in both chains, class 1 named once too often, class 2 missed once."""
    logits = torch.tensor([[1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    label = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    scores = multi_label_scores(logits, label)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["macro_f1"] == pytest.approx((1 + 0 + 0) / 3)


def test_the_constant_answer():
    assert constant_answer([2, 7, 1], 10, multi_label=False).argmax() == 1
    frequencies = constant_answer([2, 7, 1], 8, multi_label=True).sigmoid()
    torch.testing.assert_close(frequencies, torch.tensor([2 / 8, 7 / 8, 1 / 8]))


def test_codes_are_counted_on_what_is_evaluated():
    usage = codebook_usage(torch.tensor([[3, 3, 3, 5], [3, -1, -1, -1]]), 10)
    entropy = -(0.8 * torch.tensor(0.8).log() + 0.2 * torch.tensor(0.2).log())
    assert (usage["used_codes"], usage["dead_codes"]) == (2, 8)
    assert usage["perplexity"] == pytest.approx(float(entropy.exp()), rel=1e-5)
    assert codebook_usage(torch.full((2, 2), -1), 4) == {"used_codes": 0, "dead_codes": 4, "perplexity": 0.0}


def test_partition_without_a_substructure():
    statistics = partition_statistics(torch.zeros(2, 3, dtype=torch.long), torch.tensor([5, 5]))
    assert statistics == {"coverage": 0.0, "mean_size": 0.0, "mean_count": 0.0}
