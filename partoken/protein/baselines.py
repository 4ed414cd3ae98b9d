"""Simple answers to compare a network with: logistic regressions on a few hundred numbers of each chain."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from partoken.protein.chains.batch import is_labelled
from partoken.protein.metrics import label_scores
from partoken.protein.model.labels import LearnedLabel

__all__ = ["REGRESSIONS", "Described", "regression_answers"]

REGRESSIONS = {"regression": ("composition",), "regression + fold": ("composition", "fold")}
"""The numbers that each regression reads."""

PENALTIES = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4)
"""Penalties of the squared weights, from which the validation chains choose."""
MAX_STEPS = 100
"""Largest number of L-BFGS steps for a penalty; each penalty starts where the one before has ended."""
CLIP = 4.0
"""Largest standardised number; larger ones are cut."""

Described = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]
"""The n chains of a split: `composition` and `fold`, numbers `[n, D]`; and labels by name, see `ChainBatch.labels`."""


def regression_answers(
    labels: Sequence[LearnedLabel], train: Described, val: Described, test: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """Fits a logistic regression for each label and each entry of `REGRESSIONS`, and answers for the test chains.

    It is multinomial, or one regression for each class if a chain may have several classes. The numbers are
    standardised by the training chains. The penalty is the one with the best macro-F1 on the validation chains. Chains
    without the label do not count. No random number is drawn.

    Arguments:
        labels: The labels.
        train: Chains to fit to.
        val: Chains that choose the penalty.
        test: Numbers of the chains to answer for.

    Returns:
        Logits `[n, C]` of the test chains by regression and label.

    Example:
        >>> numbers = {"composition": torch.tensor([[0.0], [1.0], [0.1], [0.9]]), "fold": torch.ones(4, 1)}
        >>> chains = numbers, {"": torch.tensor([0, 1, 0, 1])}
        >>> answers = regression_answers([LearnedLabel("", ("a", "b"), False)], chains, chains, numbers)
        >>> answers["regression"][""].argmax(1)
        tensor([0, 1, 0, 1])
    """
    answers: dict[str, dict[str, Tensor]] = {name: {} for name in REGRESSIONS}
    num_fits = len(REGRESSIONS) * len(labels) * len(PENALTIES)
    with tqdm(total=num_fits, desc="regressions", disable=None, leave=False) as progress:
        for name, parts in REGRESSIONS.items():
            x = [torch.cat([numbers[part] for part in parts], dim=1).float() for numbers in (train[0], val[0], test)]
            for label in labels:
                answers[name][label.name] = _answer(label, x, train[1][label.name], val[1][label.name], progress)
    return answers


def _answer(label: LearnedLabel, x: Sequence[Tensor], train: Tensor, val: Tensor, progress: tqdm) -> Tensor:
    """Returns the logits of the test chains for one label.

    Arguments:
        label: The label.
        x: Numbers of the chains of train, val and test, `[n, D]` each.
        train: Labels of the training chains.
        val: Labels of the validation chains.
        progress: Counts the penalties that are done.
    """
    has_label, chooses = is_labelled(train), is_labelled(val)
    train_x, val_x, test_x = _standardise(x[0][has_label], x[1][chooses], x[2])
    answer, best = test_x.new_zeros(len(test_x), len(label.class_names)), -1.0
    for weights in _fit(train_x, train[has_label], label):
        score = label_scores(val_x @ weights, val[chooses], label.multi_label)[0]["macro_f1"]
        if score > best:
            answer, best = test_x @ weights, score
        progress.update()
    return answer


def _standardise(train: Tensor, *others: Tensor) -> list[Tensor]:
    """Standardises numbers `[n, D]` by those of the training chains, and adds a column of ones, `[n, D + 1]`."""
    mean, deviation = train.mean(0), train.std(0, correction=0)
    scale = torch.where(deviation > 1e-6, 1 / deviation, 0.0)  # a constant number says nothing
    return [F.pad(((x - mean) * scale).clamp(-CLIP, CLIP), (0, 1), value=1.0) for x in (train, *others)]


@torch.enable_grad()
def _fit(x: Tensor, truth: Tensor, label: LearnedLabel) -> Iterator[Tensor]:
    """Yields the weights `[D + 1, C]` that minimise mean loss and penalty, for each penalty; the constant is free.

    Arguments:
        x: Standardised numbers with a column of ones, `[n, D + 1]`.
        truth: Labels of the chains.
        label: Its classes C.
    """
    weights = x.new_zeros(x.shape[1], len(label.class_names)).requires_grad_()
    for penalty in PENALTIES:
        optimizer = torch.optim.LBFGS(
            [weights],
            max_iter=MAX_STEPS,
            tolerance_grad=1e-5,
            tolerance_change=1e-6,
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def closure(penalty: float = penalty, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = _loss(x @ weights, truth, label.multi_label) + penalty * weights[:-1].square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        yield weights.detach().clone()


def _loss(logits: Tensor, truth: Tensor, multi_label: bool) -> Tensor:
    if multi_label:
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / max(1, len(truth))
    return F.cross_entropy(logits, truth)
