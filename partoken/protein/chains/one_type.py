"""Chains whose sequence carries nothing: nearly all residues are of one type, as in the backbone of a design."""

from collections.abc import Sequence

import numpy as np

from partoken.protein.chains.backbone import AMINO_ACIDS

__all__ = ["describe_one_type", "one_type"]

SHOWN = 5
"""Chains that a line names."""

MIN_FRACTION = 0.8
"""From this fraction of one type on, the sequence carries nothing: a design may keep some residues of a protein.
In the chains that ship, the most frequent type has at most 0.25."""


def one_type(sequence: np.ndarray) -> str:
    """Returns what is to say of a chain whose residues are nearly all of one type, or unknown; else "".

    Arguments:
        sequence: amino acid codes, uint8 [L].

    >>> one_type(np.array([5] * 9 + [0], np.uint8)), one_type(np.arange(20, dtype=np.uint8))
    ('9 of 10 residues are G: the sequence carries nothing', '')
    """
    counts = np.bincount(sequence, minlength=len(AMINO_ACIDS) + 1)
    most = int(counts.argmax())
    if counts[most] < MIN_FRACTION * max(len(sequence), 1):
        return ""
    kind = (AMINO_ACIDS + "X")[most]
    return f"{counts[most]} of {len(sequence)} residues are {kind}: the sequence carries nothing"


def describe_one_type(ids: Sequence[str]) -> str:
    """Returns a line about the chains with a sequence that carries nothing.

    >>> describe_one_type(["a", "b"])
    'the sequence carries nothing in 2 chains, whose residues are nearly all of one type: a, b'
    """
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return (
        f"the sequence carries nothing in {len(ids)} chains, whose residues are nearly all of one type: "
        f"{', '.join(ids[:SHOWN])}{more}"
    )
