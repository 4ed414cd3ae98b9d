"""Which residue types stand at the same place in the substructures of a token."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binom, false_discovery_control

from partoken.protein.chains.backbone import AMINO_ACIDS, UNKNOWN

__all__ = ["REACH", "Conserved", "Place", "conserved_residues"]

REACH = 4
"""Residues on each side of the most important one that are compared."""
_SHARE, _SIGNIFICANT = 0.3, 0.01
"""A conserved residue type has at least this share of the substructures, and a corrected p-value below this one."""
_LISTED = 6
"""Largest number of conserved residue types of a token."""


class Place(NamedTuple):
    """The most important residue of a substructure."""

    sequence: np.ndarray
    """Amino acid codes of its chain, uint8 `[L]`."""
    position: int
    """Its position in the chain, counted from 0."""


class Conserved(NamedTuple):
    """A residue type that stands at a place more often than elsewhere."""

    offset: int
    """Place along the chain, counted from the most important residue of the substructure."""
    residue: str
    """One-letter code."""
    share: float
    """Fraction of the substructures whose chain has a known residue there that have this type."""
    q: float
    """Probability of at least this share if the type were as frequent as in all chains (binomial), corrected for the
    tests of all tokens, places and types after Benjamini and Hochberg."""


def conserved_residues(places: Mapping[int, Sequence[Place]], background: np.ndarray) -> dict[int, list[Conserved]]:
    """Finds the conserved residue types of each token, the smallest `q` first.

    The substructures of a token are laid upon each other at their most important residues. Similar chains are counted
    as if they were independent, so a family with many members makes its own residues look conserved.

    Arguments:
        places: The substructures of each token.
        background: Number of residues of each amino acid code in all chains, `[21]`, the last of them unknown.
    """
    known = background[:UNKNOWN]
    frequency = known / max(1, known.sum())
    offsets = range(-REACH, REACH + 1)
    counts = np.array([[_count(of_token, offset) for offset in offsets] for of_token in places.values()])
    if not counts.size:
        return {token: [] for token in places}
    totals = counts.sum(2, keepdims=True)
    p = binom.sf(counts - 1, totals, frequency)
    q = false_discovery_control(np.clip(p, 0, 1).ravel()).reshape(p.shape)
    share = counts / np.maximum(1, totals)
    found: dict[int, list[Conserved]] = {}
    for number, token in enumerate(places):
        hits = np.argwhere((share[number] >= _SHARE) & (q[number] < _SIGNIFICANT)).tolist()
        listed = [
            Conserved(offsets[i], AMINO_ACIDS[code], float(share[number, i, code]), float(q[number, i, code]))
            for i, code in hits
        ]
        found[token] = sorted(listed, key=lambda one: one.q)[:_LISTED]
    return found


def _count(places: Sequence[Place], offset: int) -> np.ndarray:
    """Counts the known residue types at an offset, `[20]`."""
    types = [
        int(place.sequence[place.position + offset])
        for place in places
        if 0 <= place.position + offset < len(place.sequence)
    ]
    return np.bincount(types, minlength=UNKNOWN + 1)[:UNKNOWN]
