"""Scores on chains of families that training saw and never saw, against a plain count."""

import pytest
import torch

from partoken.protein.family_scores import family_table
from partoken.protein.metrics import multi_class_scores
from partoken.protein.model.labels import LearnedLabel
from partoken.report.run import format_summary

FOLD = LearnedLabel("fold", ("a", "b"), False, {"train": [3, 1]}, 4)
SITE = LearnedLabel("site", ("x", "y"), True, {"train": [2, 2]}, 4)
ALONE = LearnedLabel("", ("a", "b"), False, {"train": [3, 1]}, 4)

NAN = torch.nan
TRUTH = {
    "fold": torch.tensor([0, 1, 1, 0, -1, 1]),
    "site": torch.tensor([[1.0, 0], [0, 1], [NAN, NAN], [NAN, NAN], [NAN, NAN], [1, 0]]),
}
SEEN = torch.tensor([1, 1, 0, 0, 0, -1], dtype=torch.int8)


def one_hot(*classes):
    return 4 * torch.eye(2)[list(classes)] - 2


LOGITS = {"fold": one_hot(0, 1, 0, 0, 1, 1), "site": one_hot(0, 1, 0, 0, 0, 1)}
SIMPLE = {"regression": {"fold": one_hot(1, 1, 1, 1, 1, 1), "site": one_hot(1, 1, 1, 1, 1, 1)}}


def test_chains_of_seen_and_unseen_families_are_scored_apart():
    rows = family_table((FOLD, SITE), LOGITS, SIMPLE, TRUTH, SEEN)
    assert rows["fold, seen: accuracy"] == {"model": 1.0, "class frequencies": 0.5, "regression": 0.5, "chains": 2}
    unseen = {"model": 0.5, "class frequencies": 0.5, "regression": 0.5, "chains": 2}
    assert rows["fold, unseen: accuracy"] == unseen, "the fifth chain has no label, the sixth no family"
    expected, _ = multi_class_scores(LOGITS["fold"][2:4], TRUTH["fold"][2:4])
    assert rows["fold, unseen: macro F1"]["model"] == expected["macro_f1"] == pytest.approx(1 / 3)
    assert "chains" not in rows["fold, unseen: macro F1"]


def test_a_label_with_several_classes_has_fmax_too():
    rows = family_table((SITE,), LOGITS, SIMPLE, TRUTH, SEEN)
    assert list(rows) == ["site, seen: accuracy", "site, seen: macro F1", "site, seen: Fmax", "site, unseen: accuracy"]
    assert rows["site, seen: Fmax"]["model"] == 1.0 and rows["site, seen: accuracy"]["regression"] == 0.5
    assert "class frequencies" in rows["site, seen: accuracy"]


def test_a_kind_without_chains_has_a_line_without_scores():
    logits, truth = {"": LOGITS["fold"]}, {"": TRUTH["fold"]}
    rows = family_table((ALONE,), logits, {}, truth, torch.zeros(6))
    assert rows["seen: accuracy"] == {"model": None, "most frequent": None, "chains": 0}
    assert "seen: macro F1" not in rows and rows["unseen: accuracy"]["chains"] == 5


def test_chains_without_families_have_no_table():
    assert family_table((FOLD,), LOGITS, SIMPLE, TRUTH, torch.full((6,), -1)) == {}


def test_the_printed_table_is_narrow_and_has_the_columns_of_the_test():
    simple = {"regression": {"": LOGITS["fold"]}, "regression + fold": {"": LOGITS["fold"]}}
    table = family_table((ALONE,), {"": LOGITS["fold"]}, simple, {"": TRUTH["fold"]}, SEEN)
    header, *lines = format_summary({"test": {}, "tables": {"family": table}})[1:]
    assert header.split("   ")[1:] and header.split() == (
        "family model most frequent regression regression + fold chains".split()
    )
    assert [line.split("  ")[0] for line in lines[:4]] == [
        "seen: accuracy",
        "seen: macro F1",
        "unseen: accuracy",
        "unseen: macro F1",
    ]
    assert max(map(len, lines)) < 100
