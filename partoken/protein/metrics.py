"""Scores of predictions, and statistics of codes and substructures, over a set of evaluated chains."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

__all__ = [
    "codebook_usage",
    "constant_answer",
    "fmax",
    "label_scores",
    "multi_class_scores",
    "multi_label_scores",
    "partition_statistics",
]


def multi_class_scores(
    logits: Tensor,
    label: Tensor,
) -> tuple[dict[str, float], list[list[int]]]:
    """Scores predictions if each chain has one label.

    Arguments:
        logits: Scores of the classes, `[chains, classes]`.
        label: Class numbers, `[chains]` int64.

    Returns:
        `accuracy`; `balanced_accuracy`, the mean recall of the classes with at least one chain; `macro_f1`, the mean F1
        of the classes with at least one chain or prediction; and the confusion matrix, true classes as rows.

    Example:
        >>> scores, confusion = multi_class_scores(torch.eye(3)[[0, 0, 1, 1]], torch.tensor([0, 0, 0, 1]))
        >>> {k: round(v, 3) for k, v in scores.items()}
        {'accuracy': 0.75, 'balanced_accuracy': 0.833, 'macro_f1': 0.733}
        >>> confusion
        [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    """
    confusion = multiclass_confusion_matrix(logits.argmax(1), label, num_classes=logits.shape[1])
    right = confusion.diagonal().double()
    true, predicted = confusion.sum(1).double(), confusion.sum(0).double()
    recall = (right / true)[true > 0]
    f1 = (2 * right / (true + predicted))[true + predicted > 0]
    scores = {
        "accuracy": right.sum() / true.sum(),
        "balanced_accuracy": recall.mean(),
        "macro_f1": f1.mean(),
    }
    return {name: float(value) for name, value in scores.items()}, confusion.tolist()


def multi_label_scores(logits: Tensor, label: Tensor) -> dict[str, float]:
    """Scores predictions if a chain may have several labels; a probability of at least one half predicts a class.

    Arguments:
        logits: Scores of the classes, `[chains, classes]`.
        label: Zeros and ones, `[chains, classes]`.

    Returns:
        `fmax`; `accuracy`, the fraction of correct decisions over chains and classes; and `macro_f1`, the mean F1 of
        the classes with at least one chain or prediction.

    Example:
        >>> label = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> multi_label_scores(torch.tensor([[2.0, -2.0], [2.0, 2.0]]), label)["accuracy"]
        0.75
    """
    predicted, true = logits >= 0, label > 0
    right = (predicted & true).sum(0).double()
    either = (predicted.sum(0) + true.sum(0)).double()
    f1 = (2 * right / either)[either > 0]
    return {
        "fmax": fmax(logits.sigmoid(), label),
        "accuracy": float((predicted == true).double().mean()),
        "macro_f1": float(f1.mean()) if len(f1) else 0.0,
    }


def label_scores(logits: Tensor, label: Tensor, multi_label: bool) -> tuple[dict[str, float], list[list[int]] | None]:
    """Scores predictions by `multi_class_scores` or `multi_label_scores`; the latter have no confusion matrix."""
    if multi_label:
        return multi_label_scores(logits, label), None
    return multi_class_scores(logits, label)


def constant_answer(counts: Sequence[int], num_chains: int, multi_label: bool) -> Tensor:
    """Computes the logits of the best answer that ignores the structure, `[classes]`.

    With one label per chain this answer is the most frequent class. With several labels it gives each class its
    frequency as probability.

    Arguments:
        counts: Training chains of each class.
        num_chains: Training chains.
        multi_label: True if a chain may have several labels.

    Example:
        >>> constant_answer([3, 9, 4], 16, multi_label=False).argmax()
        tensor(1)
    """
    frequencies = torch.tensor(counts, dtype=torch.float32) / num_chains
    return torch.logit(frequencies, eps=1e-6) if multi_label else frequencies


def fmax(probability: Tensor, label: Tensor) -> float:
    """Computes the protein-centric maximum F-measure of multi-label predictions.

    At each threshold t, precision is averaged over the chains with a prediction at t, and recall over all chains. The
    result is the largest harmonic mean over t = 0.01, 0.02, ..., 0.99.

    References:
        A large-scale evaluation of computational protein function prediction (Radivojac et al., Nature Methods 2013).

    Arguments:
        probability: Probabilities of the classes, `[chains, classes]` in 0 to 1.
        label: Zeros and ones, `[chains, classes]`, at least one 1 per chain.

    Example:
        >>> fmax(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        1.0
    """
    best = 0.0
    for threshold in torch.arange(1, 100) / 100:
        predicted = probability >= threshold
        hits = (predicted & (label > 0)).sum(1).double()
        covered = predicted.any(1)
        if not covered.any():
            break
        precision = (hits / predicted.sum(1).clamp(min=1))[covered].mean()
        recall = (hits / label.sum(1).clamp(min=1)).mean()
        if precision + recall > 0:
            best = max(best, float(2 * precision * recall / (precision + recall)))
    return best


def codebook_usage(tokens: Tensor, codebook_size: int) -> dict[str, Any]:
    """Counts the codes that occur among evaluated tokens.

    Arguments:
        tokens: Codes, int64 of any shape, -1 where there is no substructure.
        codebook_size: Number of codes.

    Returns:
        `used_codes`; `dead_codes`, which never occur; and `perplexity`, exp of the entropy of the code frequencies.

    Example:
        >>> codebook_usage(torch.tensor([[0, 0, 1, 1], [2, 2, -1, -1]]), 8)
        {'used_codes': 3, 'dead_codes': 5, 'perplexity': 3.0}
    """
    present = tokens[tokens >= 0].flatten().long()
    counts = torch.bincount(present, minlength=codebook_size).double()
    frequency = counts[counts > 0] / counts.sum()
    used = len(frequency)
    perplexity = float(torch.exp(-(frequency * frequency.log()).sum())) if used else 0.0
    return {
        "used_codes": used,
        "dead_codes": codebook_size - used,
        "perplexity": round(perplexity, 6),
    }


def partition_statistics(sizes: Tensor, lengths: Tensor) -> dict[str, float]:
    """Describes the substructures of evaluated chains.

    Arguments:
        sizes: Residues of each substructure, `[chains, substructures]` int64, 0 where there is none.
        lengths: Residues of each chain, `[chains]` int64.

    Returns:
        `coverage`, the mean fraction of a chain's residues in a substructure; `mean_size`, residues per substructure;
        `mean_count`, substructures per chain.

    Example:
        >>> partition_statistics(torch.tensor([[4, 6, 0], [5, 0, 0]]), torch.tensor([20, 10]))
        {'coverage': 0.5, 'mean_size': 5.0, 'mean_count': 1.5}
    """
    present = sizes > 0
    return {
        "coverage": float((sizes.sum(1) / lengths).mean()),
        "mean_size": float(sizes.sum() / present.sum().clamp(min=1)),
        "mean_count": float(present.sum(1).double().mean()),
    }
