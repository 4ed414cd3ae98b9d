"""The loss of one label: the weights of its classes, and the sum over the chains that have it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.protein.chains.batch import is_labelled
from partoken.protein.model.labels import LearnedLabel

__all__ = ["class_weights", "sum_loss"]


def class_weights(label: LearnedLabel, balance: float) -> tuple[Tensor, Tensor]:
    """Returns the weights of the classes in the loss, and the scores at which the network starts, both `[C]`."""
    counts = torch.tensor(label.class_counts["train"], dtype=torch.float32) + 1
    if label.multi_label:
        absent = (label.train_chains + 2 - counts).clamp(min=1)
        return torch.ones_like(counts), torch.log(counts / absent)
    fractions = (counts / counts.sum()) ** (1 - balance)
    weights = fractions / counts
    # The mean weight of the training chains is one.
    weights = weights * counts.sum() / (weights * counts).sum()
    return weights, (fractions / fractions.sum()).log()


def sum_loss(logits: Tensor, label: Tensor, weights: Tensor | None, of_chains: Tensor | None = None) -> Tensor:
    """Computes the sum of the losses of the chains that have a label, 0 without any.

    Arguments:
        logits: Scores of its classes, `[B, C]`.
        label: See `ChainBatch.labels`.
        weights: Weights of the classes, `[C]`; None if a chain may have several classes.
        of_chains: Weights of the chains, `[B]`; None: they count the same.
    """
    known = is_labelled(label)
    if weights is None:
        # Summed over the classes, it is the negative log-likelihood of the label, as cross entropy is for one class.
        losses = F.binary_cross_entropy_with_logits(logits, label.nan_to_num(), reduction="none").sum(1)
    else:
        number = label.clamp(min=0)
        # Divided by chains and not by weights, so a batch of rare classes has a larger gradient.
        losses = F.cross_entropy(logits, number, reduction="none") * weights[number]
    if of_chains is not None:
        losses = losses * of_chains
    return (losses * known).sum()
