"""What is measured on a set of evaluated chains."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

__all__ = ["codebook_usage", "constant_answer", "fmax", "multi_class", "multi_label", "partition_statistics"]


def multi_class(logits: Tensor, label: Tensor) -> tuple[dict[str, float], list[list[int]]]:
    """Scores predictions of one label a chain.

    Arguments:
        logits: [chains, classes].
        label: [chains] class numbers.

    Returns:
        `accuracy`; `balanced_accuracy`, the mean recall of the classes that have a chain; `macro_f1`, the mean F1 of
        the classes that have a chain or were predicted; and the confusion matrix, true classes as rows.

    >>> scores, confusion = multi_class(torch.eye(3)[[0, 0, 1, 1]], torch.tensor([0, 0, 0, 1]))
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
    scores = {"accuracy": right.sum() / true.sum(), "balanced_accuracy": recall.mean(), "macro_f1": f1.mean()}
    return {name: float(value) for name, value in scores.items()}, confusion.tolist()


def multi_label(logits: Tensor, label: Tensor) -> dict[str, float]:
    """Scores predictions of several labels a chain, a class being named where its probability is one half or more.

    Arguments:
        logits: [chains, classes].
        label: [chains, classes] of zeros and ones.

    Returns:
        `fmax`; `accuracy`, the share of right decisions over chains and classes; and `macro_f1`, the mean F1 of the
        classes that have a chain or were predicted.

    >>> multi_label(torch.tensor([[2.0, -2.0], [2.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))["accuracy"]
    0.75
    """
    named, true = logits >= 0, label > 0
    right, either = (named & true).sum(0).double(), (named.sum(0) + true.sum(0)).double()
    f1 = (2 * right / either)[either > 0]
    return {
        "fmax": fmax(logits.sigmoid(), label),
        "accuracy": float((named == true).double().mean()),
        "macro_f1": float(f1.mean()) if len(f1) else 0.0,
    }


def constant_answer(counts: Sequence[int], num_chains: int, several: bool) -> Tensor:
    """Returns the logits [classes] of the best answer that looks at no structure.

    One label a chain: the most frequent class. Several: every class with its frequency.

    Arguments:
        counts: training chains of each class.
        num_chains: training chains.
        several: chains may have several labels.

    >>> constant_answer([3, 9, 4], 16, several=False).argmax()
    tensor(1)
    """
    shares = torch.tensor(counts, dtype=torch.float32) / num_chains
    return torch.logit(shares, eps=1e-6) if several else shares


def fmax(probability: Tensor, label: Tensor) -> float:
    """Returns the protein-centric maximum F-measure of multi-label predictions (Radivojac et al. 2013).

    At each threshold t, precision is averaged over the chains with a prediction at t and recall over all chains; the
    largest harmonic mean over t = 0.01, 0.02, ..., 0.99 is returned.

    Arguments:
        probability: [chains, classes] in 0 to 1.
        label: [chains, classes] of zeros and ones, at least one a chain.

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
    """Counts the codes in use among evaluated tokens.

    Arguments:
        tokens: integers of any shape, -1 where there is no substructure.
        codebook_size: number of codes.

    Returns:
        `used_codes`, `dead_codes` (never used), and `perplexity`, exp of the entropy of the code frequencies.

    >>> codebook_usage(torch.tensor([[0, 0, 1, 1], [2, 2, -1, -1]]), 8)
    {'used_codes': 3, 'dead_codes': 5, 'perplexity': 3.0}
    """
    counts = torch.bincount(tokens[tokens >= 0].flatten().long(), minlength=codebook_size).double()
    frequency = counts[counts > 0] / counts.sum()
    used = len(frequency)
    perplexity = float(torch.exp(-(frequency * frequency.log()).sum())) if used else 0.0
    return {"used_codes": used, "dead_codes": codebook_size - used, "perplexity": round(perplexity, 6)}


def partition_statistics(sizes: Tensor, lengths: Tensor) -> dict[str, float]:
    """Describes how chains were cut.

    Arguments:
        sizes: [chains, substructures] residues each, 0 where there is none.
        lengths: [chains] residues that have coordinates.

    Returns:
        `coverage`, the mean share of a chain's residues in a substructure; `mean_size` in residues; `mean_count`,
        substructures a chain.

    >>> partition_statistics(torch.tensor([[4, 6, 0], [5, 0, 0]]), torch.tensor([20, 10]))
    {'coverage': 0.5, 'mean_size': 5.0, 'mean_count': 1.5}
    """
    present = sizes > 0
    return {
        "coverage": float((sizes.sum(1) / lengths).mean()),
        "mean_size": float(sizes.sum() / present.sum().clamp(min=1)),
        "mean_count": float(present.sum(1).double().mean()),
    }
