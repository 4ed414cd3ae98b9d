"""The codebook on chains that trained nothing: how many codes are used, and how many say the same."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.protein.explanation_checks.explained import ExplainedChain
from partoken.protein.metrics import codebook_usage

__all__ = ["SAME", "count_redundant", "score_codes"]

SAME = 0.9
"""Cosine of two codes above which they say nearly the same."""


def score_codes(chains: Sequence[ExplainedChain], codes: Tensor) -> dict[str, float] | None:
    """Describes the use of the codes; None if the chains have no tokens.

    Arguments:
        chains: Evaluated chains.
        codes: The codebook, `[codes, dim]`.
    """
    tokens = torch.tensor([token for chain in chains for token in chain.prediction.tokens if token >= 0])
    if not len(tokens):
        return None
    usage = codebook_usage(tokens, len(codes))
    return {
        "codes": len(codes),
        "substructures": len(tokens),
        "used": usage["used_codes"],
        "perplexity": usage["perplexity"],
        "redundant": count_redundant(codes[tokens.unique().to(codes.device)]),
    }


def count_redundant(codes: Tensor) -> int:
    """Counts the codes `[codes, dim]` that have another one whose cosine with them is above `SAME`.

    >>> count_redundant(torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]]))
    2
    """
    unit = F.normalize(codes.float(), dim=1)
    cosine = (unit @ unit.T).fill_diagonal_(-1)
    return int((cosine > SAME).any(1).sum())
