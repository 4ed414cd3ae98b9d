"""What a report says of the model: scores, confusion, calibration, substructures, and right beside wrong answers."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np

from partoken.protein.answers import LabelAnswer
from partoken.protein.facts.calibration import calibration
from partoken.protein.facts.seen import SeenChain
from partoken.protein.model.labels import LearnedLabel

__all__ = ["confusion", "describe_model", "recorded_scores"]

_PART = 0.1
"""Part of the residues that `top_share` is about."""


def describe_model(chains: Sequence[SeenChain], labels: Sequence[LearnedLabel]) -> dict[str, Any]:
    """Describes the answers to the chains and their substructures; all but the recorded scores.

    Arguments:
        chains: The chains to describe; for scores, those of the test.
        labels: The labels of the network.

    Returns:
        `confusion`, `calibration`, `substructures` and `right_and_wrong`, see the manual's page on reports.
    """
    found: dict[str, Any] = {"confusion": {}, "calibration": {}, "right_and_wrong": []}
    for label in labels:
        known = [one for one in chains if one.is_right(label.name) is not None]
        if not known:
            continue
        if not label.multi_label:
            found["confusion"][label.name] = confusion(known, label)
        found["calibration"][label.name] = _calibration(known, label)
        found["right_and_wrong"].append(
            {
                "label": label.name,
                "right": _describe_importance([one for one in known if one.is_right(label.name)], label.name),
                "wrong": _describe_importance([one for one in known if not one.is_right(label.name)], label.name),
            }
        )
    return {**found, "substructures": _substructures(chains)}


def recorded_scores(summary: Mapping[str, Any], labels: Sequence[LearnedLabel]) -> list[dict[str, Any]]:
    """Returns the scores of the test of a run beside those of simple answers, as its summary has them.

    Arguments:
        summary: Content of `summary.json`.
        labels: The labels of the network.
    """
    test = summary.get("test") or {}
    if not {"accuracy", "macro_f1"} <= set(test):
        return []
    if [label.name for label in labels] == [""]:
        of_label = labels[0]
        counts = of_label.class_counts.get("test", [])
        return [
            {
                "label": "",
                "num_chains": None if of_label.multi_label else sum(counts),
                **_main_scores(test),
                "baselines": {name: _main_scores(scores) for name, scores in summary.get("baselines", {}).items()},
            }
        ]
    table = summary.get("tables", {}).get("label", {})
    return [_row_of_table(name, row) for name, row in table.items()]


def _row_of_table(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the scores of one of several labels; the table has the F1 of a simple answer as `F1 of NAME`."""
    other = {"accuracy", "macro F1", "Fmax", "chains"}
    simple = [column for column in row if column not in other and not column.startswith("F1 of ")]
    return {
        "label": name,
        "num_chains": row.get("chains"),
        "accuracy": row.get("accuracy"),
        "macro_f1": row.get("macro F1"),
        "baselines": {answer: {"accuracy": row[answer], "macro_f1": row.get(f"F1 of {answer}")} for answer in simple},
    }


def _main_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: scores.get(name) for name in ("accuracy", "macro_f1")}


def confusion(chains: Sequence[SeenChain], label: LearnedLabel) -> dict[str, Any]:
    """Counts the answers of chains whose true class is known: `classes`, and `counts[true][predicted]`."""
    place = {name: i for i, name in enumerate(label.class_names)}
    counts = np.zeros((len(place), len(place)), dtype=int)
    for one in chains:
        true = place.get(str(one.given.truth[label.name]))
        if true is not None:
            counts[true, place[one.prediction.answers[label.name].label]] += 1
    return {"classes": list(label.class_names), "counts": counts.tolist()}


def _calibration(chains: Sequence[SeenChain], label: LearnedLabel) -> dict[str, Any]:
    """Compares confidence and accuracy; with several classes for a chain, probability and truth of each class."""
    answers: list[tuple[LabelAnswer, SeenChain]] = [(one.prediction.answers[label.name], one) for one in chains]
    if not label.multi_label:
        return calibration(
            [answer.confidence for answer, _ in answers], [bool(one.is_right(label.name)) for _, one in answers]
        )
    pairs = [
        (probability, name in str(one.given.truth[label.name]).split(";"))
        for answer, one in answers
        for name, probability in answer.probabilities.items()
    ]
    return calibration([probability for probability, _ in pairs], [is_true for _, is_true in pairs])


def _substructures(chains: Sequence[SeenChain]) -> dict[str, Any]:
    """Returns the mean fraction of residues in a substructure, the sizes of all substructures, and their numbers."""
    sizes = [[len(one.residues) for one in chain.substructures] for chain in chains]
    covered = [sum(own) / len(chain.backbone) for own, chain in zip(sizes, chains, strict=True)]
    return {
        "coverage_mean": round(float(np.mean(covered)), 4) if covered else None,
        "sizes": [size for own in sizes for size in own],
        "per_chain": [len(own) for own in sizes],
    }


def _describe_importance(chains: Sequence[SeenChain], label: str) -> dict[str, Any]:
    """Describes how importance is spread in some chains, as means; nothing but the number 0 if there is none."""
    if not chains:
        return {"chains": 0}
    return {
        "chains": len(chains),
        "confidence": _mean([one.prediction.answers[label].confidence for one in chains]),
        "top_share": _mean([_top_share(one.importance) for one in chains]),
        "half_in": _mean([_part_with_half(one.importance) for one in chains]),
        "top_substructure": _mean([max(one.prediction.importance, default=0.0) for one in chains]),
    }


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def _top_share(importance: np.ndarray) -> float:
    """Returns the importance of the tenth of the residues that ranks highest, rounded up."""
    return float(np.sort(importance)[::-1][: ceil(_PART * len(importance))].sum())


def _part_with_half(importance: np.ndarray) -> float:
    """Returns the smallest part of the residues that has half of the importance."""
    sums = np.sort(importance)[::-1].cumsum()
    return float((np.searchsorted(sums, sums[-1] / 2) + 1) / len(importance))
