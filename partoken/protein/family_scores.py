"""Scores on the test chains of families that training saw, and on those of families that it never saw."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from partoken.protein.chains.batch import is_labelled
from partoken.protein.evaluation import evaluate, name_constant, score_answers
from partoken.protein.model.labels import LearnedLabel

__all__ = ["family_table"]

_KINDS = {"seen": 1, "unseen": 0}
_SCORES = {"accuracy": "accuracy", "macro F1": "macro_f1", "Fmax": "fmax"}


def family_table(
    labels: Sequence[LearnedLabel],
    logits: Mapping[str, Tensor],
    simple: Mapping[str, Mapping[str, Tensor]],
    truth: Mapping[str, Tensor],
    seen: Tensor,
) -> dict[str, dict[str, float | None]]:
    """Scores the network and simple answers on chains of seen and of unseen families, over those with the label.

    Arguments:
        labels: The labels.
        logits: The network's scores of the classes of each label, `[chains, C]`.
        simple: Scores of the classes of further answers, `[chains, C]`, by answer and label.
        truth: Each label of all chains, see `ChainBatch.labels`.
        seen: 1 for a chain of a seen family, 0 for one of an unseen family, -1 for one without a family, `[chains]`.

    Returns:
        A line for each label, kind of family and score, with the number of chains in the first line of a kind. A kind
        without chains has one line without scores. {}: no chain has a family.
    """
    constant = name_constant(labels)
    no_scores: dict[str, dict[str, float | None]] = {"accuracy": dict.fromkeys(("model", constant, *simple))}
    rows: dict[str, dict[str, float | None]] = {}
    for label in labels if (seen >= 0).any() else ():
        for kind, mark in _KINDS.items():
            name = f"{label.name}, {kind}" if label.name else kind
            chosen = (seen == mark) & is_labelled(truth[label.name])
            scores = _score(label, constant, logits, simple, truth, chosen) if chosen.any() else no_scores
            for score, row in scores.items():
                chains = {"chains": int(chosen.sum())} if score == "accuracy" else {}
                rows[f"{name}: {score}"] = {**row, **chains}
    return rows


def _score(
    label: LearnedLabel,
    constant: str,
    logits: Mapping[str, Tensor],
    simple: Mapping[str, Mapping[str, Tensor]],
    truth: Mapping[str, Tensor],
    chosen: Tensor,
) -> dict[str, dict[str, float | None]]:
    """Returns what each answer scores for the chosen chains, by score and answer; `constant` names one of them."""
    name = label.name
    of_chosen = {name: truth[name][chosen]}
    result = evaluate([label], {name: logits[name][chosen]}, of_chosen, [torch.tensor(0.0)])[name]
    others = {answer: {name: of_labels[name][chosen]} for answer, of_labels in simple.items()}
    answers = {
        "model": result.scores,
        constant: result.majority,
        **{answer: of_label[name] for answer, of_label in score_answers([label], others, of_chosen).items()},
    }
    return {
        title: {answer: scores[score] for answer, scores in answers.items()}
        for title, score in _SCORES.items()
        if score in result.scores
    }
