"""Regressions to compare a network with: their minimum, their choice of a penalty, and chains without a label."""

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from partoken.protein import baselines
from partoken.protein.baselines import PENALTIES, REGRESSIONS, regression_answers
from partoken.protein.metrics import label_scores
from partoken.protein.model.labels import LearnedLabel

KIND = LearnedLabel("kind", ("a", "b", "c"), False)
SITE = LearnedLabel("site", ("x", "y"), True)


def chains(count, seed=0):
    """Returns chains whose kind shows in the fold alone, and whose sites show in the composition."""
    generator = torch.Generator().manual_seed(seed)
    numbers = {
        "composition": torch.randn(count, 4, generator=generator),
        "fold": torch.randn(count, 3, generator=generator),
    }
    site = (numbers["composition"][:, :2] > 0).float()
    return numbers, {"kind": numbers["fold"].argmax(1), "site": site}


def accuracy(logits, truth, label):
    return label_scores(logits, truth, label.multi_label)[0]["accuracy"]


def test_a_regression_finds_what_its_numbers_show():
    test = chains(60, 2)
    answers = regression_answers((KIND, SITE), chains(200), chains(60, 1), test[0])
    assert list(answers) == ["regression", "regression + fold"]
    assert accuracy(answers["regression + fold"]["kind"], test[1]["kind"], KIND) > 0.9
    assert accuracy(answers["regression"]["kind"], test[1]["kind"], KIND) < 0.6
    for of_labels in answers.values():
        assert accuracy(of_labels["site"], test[1]["site"], SITE) > 0.9


def test_the_weights_are_at_the_minimum_of_loss_and_penalty():
    (numbers, truth), label = chains(80), KIND
    x = F.pad(numbers["fold"], (0, 1), value=1.0)
    for penalty, weights in zip(PENALTIES, baselines._fit(x, truth["kind"], label), strict=True):
        error = torch.softmax(x.double() @ weights.double(), 1) - F.one_hot(truth["kind"], 3)
        slope = x.double().T @ error / len(x)
        slope[:-1] += 2 * penalty * weights[:-1]
        assert slope.abs().max() < 2e-4


def test_the_validation_chains_choose_the_penalty(monkeypatch):
    train, val, test = chains(40), chains(40, 1), chains(40, 2)
    chosen = regression_answers((KIND,), train, val, test[0])["regression + fold"]["kind"]
    scores = {}
    for penalty in PENALTIES:
        monkeypatch.setattr(baselines, "PENALTIES", (penalty,))
        alone = [regression_answers((KIND,), train, val, part[0])["regression + fold"]["kind"] for part in (val, test)]
        scores[penalty] = label_scores(alone[0], val[1]["kind"], False)[0]["macro_f1"], alone[1]
    best = max(scores.values(), key=lambda pair: pair[0])
    np.testing.assert_allclose(chosen, best[1], atol=0.05)


def test_chains_without_the_label_do_not_count():
    train, val, test = chains(60), chains(30, 1), chains(30, 2)
    joined = [
        (
            {name: torch.cat([values, 1e3 + values]) for name, values in numbers.items()},
            {
                "kind": torch.cat([labels["kind"], torch.full_like(labels["kind"], -1)]),
                "site": torch.cat([labels["site"], torch.full_like(labels["site"], torch.nan)]),
            },
        )
        for numbers, labels in (train, val)
    ]
    alone, beside = (regression_answers((KIND, SITE), *parts, test[0]) for parts in ((train, val), joined))
    for name in REGRESSIONS:
        for label in ("kind", "site"):
            torch.testing.assert_close(beside[name][label], alone[name][label])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_training_chains_give_an_answer(count):
    answers = regression_answers((KIND, SITE), chains(count), chains(3, 1), chains(4, 2)[0])
    assert all(logits.isfinite().all() for of_labels in answers.values() for logits in of_labels.values())


def test_no_random_number_is_drawn():
    state = torch.get_rng_state()
    regression_answers((KIND,), chains(20), chains(10, 1), chains(10, 2)[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_constant_number_and_an_outlier_change_little():
    train, val, test = chains(100), chains(50, 1), chains(50, 2)
    for numbers, _ in (train, val, test):
        numbers["fold"] = torch.cat([numbers["fold"], torch.full((len(numbers["fold"]), 1), 7.0)], 1)
    test[0]["fold"][0, 3], test[0]["fold"][1, 0] = 1e6, 1e9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits = regression_answers((KIND,), train, val, test[0])["regression + fold"]["kind"]
    assert logits.abs().max() < 100
