"""How much of an answer came from which part of the network.

The scores of the classes are a sum of parts, apart from the gate that mixes substructures and the summary of the chain.
There, the contribution of each is its Shapley value: the mean of what it adds to nothing and of what it adds to the
other. Contributions and a constant then sum to the scores.

References:
    A Value for n-Person Games (Shapley, Contributions to the Theory of Games II, 1953).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["FOLD", "RESIDUES", "SUBSTRUCTURES", "WHOLE", "answer_shares", "split_between"]

SUBSTRUCTURES, WHOLE, RESIDUES, FOLD = "substructures", "whole chain", "residues", "fold geometry"
"""Parts that a network may have."""


def split_between(scores: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Splits scores of two inputs into their Shapley values; zeros stand for an absent input.

    Arguments:
        scores: Computes `[B, C]` from both inputs.
        first: `[B, dim]`.
        second: `[B, dim]`.

    Example:
        >>> a, b = torch.tensor([[1.0]]), torch.tensor([[2.0]])
        >>> split_between(lambda x, y: x + y + x * y, a, b)
        (tensor([[2.]]), tensor([[3.]]))
    """
    none = torch.zeros_like(first), torch.zeros_like(second)
    neither, both = scores(*none), scores(first, second)
    only_first, only_second = scores(first, none[1]), scores(none[0], second)
    of_first = ((only_first - neither) + (both - only_second)) / 2
    of_second = ((only_second - neither) + (both - only_first)) / 2
    return of_first, of_second


def answer_shares(contributions: Mapping[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
    """Computes the fraction of each part in the answers to one label.

    The strength of a part is its contribution to the score of the chosen class beyond its mean contribution to the
    classes of the label. A part that argues against the answer has the share 0.

    Arguments:
        contributions: What each part adds to the scores of the label's classes, `[B, C]`, by its name.
        chosen: The class of each answer, `[B]` int64.

    Returns:
        `[B]` for each part; they sum to 1, or to 0 if no part argues for the answer.

    Example:
        >>> parts = {"a": torch.tensor([[2.0, -2.0]]), "b": torch.tensor([[0.0, 1.0]])}
        >>> answer_shares(parts, chosen=torch.tensor([0]))
        {'a': tensor([1.]), 'b': tensor([0.])}
    """
    strength = {}
    for name, scores in contributions.items():
        beyond = scores - scores.mean(1, keepdim=True)
        strength[name] = beyond.gather(1, chosen[:, None]).squeeze(1).clamp(min=0)
    whole = torch.stack(list(strength.values())).sum(0)
    whole = whole.clamp(min=torch.finfo(whole.dtype).tiny)
    return {name: of_part / whole for name, of_part in strength.items()}
