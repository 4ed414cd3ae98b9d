"""The evaluation of a network's answers to one label or several, and their part of a run's summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from partoken.protein.chains.batch import is_labelled
from partoken.protein.chains.label_spec import by_name
from partoken.protein.metrics import constant_answer, label_scores, multi_class_scores
from partoken.protein.model.contributions import answer_shares
from partoken.protein.model.labels import LearnedLabel, shares, split_logits

__all__ = [
    "MEAN_SCORES",
    "LabelResult",
    "describe_parts",
    "evaluate",
    "join_scores",
    "name_constant",
    "score_answers",
    "score_parts",
    "summarise",
]

MEAN_SCORES = ("accuracy", "macro_f1")
"""Scores that every label has; those of several labels are averaged."""


@dataclass(frozen=True)
class LabelResult:
    """The scores of one label, over the chains that have it."""

    scores: Mapping[str, float]
    """Of the network."""
    majority: Mapping[str, float]
    """Of the best answer that ignores the structure."""
    majority_class: str
    """That answer."""
    confusion: list[list[int]] | None
    """`[true class][predicted class]`; None if a chain may have several classes."""
    loss: float
    """Mean over the chains, without any other term."""
    num_chains: int


def evaluate(
    labels: Sequence[LearnedLabel],
    logits: Mapping[str, Tensor],
    truth: Mapping[str, Tensor],
    losses: Sequence[Tensor],
) -> dict[str, LabelResult]:
    """Scores the answers to each label, over the chains that have it.

    Arguments:
        labels: The labels.
        logits: Scores of the classes of each label, `[chains, C]`.
        truth: Each label of all chains, see `ChainBatch.labels`.
        losses: Sum of the losses of the chains that have the label, for each label.
    """
    return {
        label.name: _evaluate(label, logits[label.name], truth[label.name], float(loss))
        for label, loss in zip(labels, losses, strict=True)
    }


def join_scores(labels: Sequence[LearnedLabel], results: Mapping[str, LabelResult]) -> dict[str, float]:
    """Returns the scores of a single label; or of several, weighted means and `NAME_SCORE` of each, its loss too."""
    if "" in results:
        return dict(results[""].scores)
    return _join(labels, {name: {**result.scores, "loss": result.loss} for name, result in results.items()})


def score_answers(
    labels: Sequence[LearnedLabel],
    answers: Mapping[str, Mapping[str, Tensor]],
    truth: Mapping[str, Tensor],
) -> dict[str, dict[str, dict[str, float]]]:
    """Scores simple answers to each label, over the chains that have it, by answer and label.

    Arguments:
        labels: The labels.
        answers: Scores of the classes `[chains, C]` by answer and label.
        truth: Each label of all chains, see `ChainBatch.labels`.
    """
    known = {label.name: is_labelled(truth[label.name]) for label in labels}
    return {
        name: {
            label.name: label_scores(
                logits[label.name][known[label.name]], truth[label.name][known[label.name]], label.multi_label
            )[0]
            for label in labels
        }
        for name, logits in answers.items()
    }


def summarise(
    labels: Sequence[LearnedLabel],
    results: Mapping[str, LabelResult],
    simple: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
    families: Mapping[str, Mapping[str, float | None]] | None = None,
) -> dict[str, Any]:
    """Returns what `ParTokenTask.summary` says of the labels.

    Arguments:
        labels: The labels.
        results: Scores of the network and of the best answer that ignores the structure.
        simple: Scores of further simple answers, see `score_answers`; None: there are none.
        families: Scores on chains of seen and unseen families, see `family_table`; None: there are none.
    """
    simple = simple or {}
    tables: dict[str, Any] = {} if "" in results else {"label": _table(labels, results, simple)}
    if families:
        tables["family"] = dict(families)
    majority = {name: {"class": result.majority_class, **result.majority} for name, result in results.items()}
    return {
        "baselines": _baselines(labels, results, simple),
        "matrices": _matrices(labels, results),
        **({"tables": tables} if tables else {}),
        "majority_accuracy": by_name({name: result.majority["accuracy"] for name, result in results.items()}),
        "majority": by_name(majority),
        "classes": by_name({label.name: list(label.class_names) for label in labels}),
        "class_counts": by_name({label.name: label.class_counts for label in labels}),
        "confusion_matrix": by_name({name: result.confusion for name, result in results.items()}),
    }


def score_parts(
    labels: Sequence[LearnedLabel], logits: Tensor, truth: Mapping[str, Tensor], contributions: Mapping[str, Tensor]
) -> dict[str, dict[str, dict[str, float]]]:
    """Measures how much of the answers to each label came from each part of the network.

    Arguments:
        labels: The labels.
        logits: Scores of the classes of all labels, `[chains, C]`.
        truth: Each label of all chains, see `ChainBatch.labels`.
        contributions: What each part adds to the scores, `[chains, C]`, by its name.

    Returns:
        For each label and part: `share`, the mean of `answer_shares` over the chains that have the label; and, if a
        chain has one class, `accuracy`, the fraction for which this part alone gives the right class.
    """
    of_parts = {name: split_logits(scores, labels) for name, scores in contributions.items()}
    # What is left are the scores of an answer without any input; each part alone is added to it.
    constants = split_logits(logits - sum(contributions.values()), labels)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for label, scores in zip(labels, split_logits(logits, labels).values(), strict=True):
        known = is_labelled(truth[label.name])
        of_label = {name: parts[label.name][known] for name, parts in of_parts.items()}
        right = truth[label.name][known]
        results[label.name] = {}
        for name, share in answer_shares(of_label, scores[known].argmax(1)).items():
            results[label.name][name] = {"share": float(share.mean()) if len(share) else 0.0}
            if not label.multi_label:
                alone, _ = multi_class_scores(constants[label.name][known] + of_label[name], right)
                results[label.name][name]["accuracy"] = alone["accuracy"]
    return results


def describe_parts(labels: Sequence[LearnedLabel], parts: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Says in one line how much of the answers came from each part; of several labels, their weighted mean.

    >>> label = LearnedLabel("", ("a", "b"), multi_label=False)
    >>> describe_parts([label], {"": {"substructures": {"share": 0.7, "accuracy": 0.81}, "residues": {"share": 0.3}}})
    '70% from the substructures (alone right for 0.810), 30% from the residues'
    """
    weights = dict(zip((label.name for label in labels), shares(labels), strict=True))
    texts = []
    for part in next(iter(parts.values())):
        share = sum(weight * parts[name][part]["share"] for name, weight in weights.items())
        text = f"{share:.0%} from the {part}"
        if len(labels) == 1 and "accuracy" in parts[labels[0].name][part]:
            text += f" (alone right for {parts[labels[0].name][part]['accuracy']:.3f})"
        texts.append(text)
    return ", ".join(texts)


def _evaluate(label: LearnedLabel, logits: Tensor, truth: Tensor, loss: float) -> LabelResult:
    known = is_labelled(truth)
    logits, truth = logits[known], truth[known]
    constant = constant_answer(label.class_counts["train"], label.train_chains, label.multi_label)
    scores, confusion = label_scores(logits, truth, label.multi_label)
    majority, _ = label_scores(constant.to(logits).expand_as(logits), truth, label.multi_label)
    answer = "their frequencies" if label.multi_label else label.class_names[int(constant.argmax())]
    return LabelResult(scores, majority, answer, confusion, loss / max(1, len(truth)), len(truth))


def _join(labels: Sequence[LearnedLabel], scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Returns the weighted means of the scores of several labels, and the scores of each."""
    parts = list(zip(shares(labels), scores.values(), strict=True))
    means = {score: sum(share * of_label[score] for share, of_label in parts) for score in MEAN_SCORES}
    own = {f"{name}_{score}": value for name, of_label in scores.items() for score, value in of_label.items()}
    return {**means, **own}


def _baselines(
    labels: Sequence[LearnedLabel],
    results: Mapping[str, LabelResult],
    simple: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, float]]:
    """Returns the scores of the best answer that ignores the structure, by what it is, and of further answers."""
    if "" not in results:
        constant = _join(labels, {name: result.majority for name, result in results.items()})
        return {name_constant(labels): constant, **{name: _join(labels, scores) for name, scores in simple.items()}}
    answer = results[""].majority_class
    constant = dict(results[""].majority)
    return {
        answer if labels[0].multi_label else f"always '{answer}'": constant,
        **{name: dict(scores[""]) for name, scores in simple.items()},
    }


def name_constant(labels: Sequence[LearnedLabel]) -> str:
    """Names the best answer that ignores the structure."""
    return "class frequencies" if any(label.multi_label for label in labels) else "most frequent"


def _table(
    labels: Sequence[LearnedLabel],
    results: Mapping[str, LabelResult],
    simple: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, float]]:
    """Returns the main scores of several labels, by name."""
    return {
        name: {
            "accuracy": result.scores["accuracy"],
            name_constant(labels): result.majority["accuracy"],
            **{answer: scores[name]["accuracy"] for answer, scores in simple.items()},
            "macro F1": result.scores["macro_f1"],
            **{f"F1 of {answer}": scores[name]["macro_f1"] for answer, scores in simple.items()},
            **({"Fmax": result.scores["fmax"]} if "fmax" in result.scores else {}),
            "chains": result.num_chains,
        }
        for name, result in results.items()
    }


def _matrices(labels: Sequence[LearnedLabel], results: Mapping[str, LabelResult]) -> dict[str, dict[str, Any]]:
    return {
        f"confusion_matrix_{label.name}" if label.name else "confusion_matrix": {
            "title": f"Test chains: {label.name}" if label.name else "Test chains",
            "rows": "true",
            "columns": "predicted",
            "labels": list(label.class_names),
            "values": results[label.name].confusion,
        }
        for label in labels
        if results[label.name].confusion is not None
    }
