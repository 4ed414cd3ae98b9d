"""Scores of one label and of several, and their part of the summary."""

import pytest
import torch

from partoken.protein.evaluation import evaluate, join_scores, score_answers, summarise
from partoken.protein.model.labels import LearnedLabel

FOLD = LearnedLabel("fold", ("a", "b"), False, {"train": [3, 1]}, 4, weight=3.0)
SITE = LearnedLabel("site", ("x", "y"), True, {"train": [2, 2]}, 4, weight=1.0)
LOGITS = {"fold": torch.tensor([[1.0, 0.0]] * 3), "site": torch.tensor([[1.0, -1.0]] * 3)}
TRUTH = {"fold": torch.tensor([0, 1, -1]), "site": torch.tensor([[1.0, 0.0], [torch.nan] * 2, [torch.nan] * 2])}


@pytest.fixture
def results():
    return evaluate((FOLD, SITE), LOGITS, TRUTH, [torch.tensor(1.0), torch.tensor(0.25)])


def test_a_label_is_scored_over_the_chains_that_have_it(results):
    assert (results["fold"].num_chains, results["site"].num_chains) == (2, 1)
    assert results["fold"].scores["accuracy"] == 0.5 and results["site"].scores["fmax"] == 1.0
    assert results["fold"].confusion == [[1, 0], [1, 0]] and results["site"].confusion is None
    assert (results["fold"].loss, results["site"].loss) == (0.5, 0.25)


def test_the_scores_of_several_labels_have_means_by_weight(results):
    scores = join_scores((FOLD, SITE), results)
    assert scores["accuracy"] == pytest.approx(0.75 * 0.5 + 0.25 * 1.0)
    assert scores["macro_f1"] == pytest.approx(0.75 * scores["fold_macro_f1"] + 0.25 * scores["site_macro_f1"])
    assert scores["fold_loss"] == 0.5 and scores["site_fmax"] == 1.0


def test_the_summary_has_a_line_and_a_matrix_for_each_label(results):
    summary = summarise((FOLD, SITE), results)
    rows = summary["tables"]["label"]
    assert list(rows) == ["fold", "site"] and rows["fold"]["chains"] == 2 and rows["fold"]["accuracy"] == 0.5
    assert list(summary["matrices"]) == ["confusion_matrix_fold"]
    assert summary["matrices"]["confusion_matrix_fold"]["title"] == "Test chains: fold"
    (baseline,) = summary["baselines"].values()
    assert baseline["fold_accuracy"] == summary["majority"]["fold"]["accuracy"] == 0.5
    assert summary["classes"] == {"fold": ["a", "b"], "site": ["x", "y"]}


def test_further_simple_answers_stand_beside_the_most_frequent_class(results):
    right = {"fold": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), "site": LOGITS["site"]}
    simple = score_answers((FOLD, SITE), {"regression": right}, TRUTH)
    assert simple["regression"]["fold"]["accuracy"] == 1.0
    summary = summarise((FOLD, SITE), results, simple)
    assert list(summary["baselines"]) == ["class frequencies", "regression"]
    assert summary["baselines"]["regression"]["fold_accuracy"] == 1.0
    row = summary["tables"]["label"]["fold"]
    assert row["regression"] == 1.0 and row["F1 of regression"] == 1.0 and row["accuracy"] == 0.5


def test_simple_answers_to_a_single_label_have_its_scores():
    label = LearnedLabel("", ("a", "b"), False, {"train": [3, 1]}, 4)
    logits, truth = {"": LOGITS["fold"]}, {"": TRUTH["fold"]}
    results = evaluate((label,), logits, truth, [torch.tensor(1.0)])
    summary = summarise((label,), results, score_answers((label,), {"regression": logits}, truth))
    assert list(summary["baselines"]) == ["always 'a'", "regression"]
    assert summary["baselines"]["regression"]["accuracy"] == 0.5
