"""The planted motif of synthetic chains: does the explanation point at it?"""

from statistics import fmean

import numpy as np

from partoken.protein.explanation_checks.explained import ExplainedChain
from partoken.protein.explanation_checks.patches import random_patches

__all__ = ["compare_with_motif", "score_motif"]

_DRAWS = 20
"""Random substructures of each chain."""


def score_motif(chain: ExplainedChain, random: np.random.Generator) -> dict[str, dict[str, float]]:
    """Compares the most important substructure and the most important residues of a chain with its motif.

    Returns:
        By line what `compare_with_motif` returns; nothing for a chain without a motif.
    """
    place = chain.backbone.fields.get("motif", "")
    if not place:
        return {}
    first, last = map(int, place.split("-"))
    motif = set(range(first, last + 1))
    ranked = np.argsort(-np.array(chain.prediction.residue_importance), kind="stable")[: len(motif)]
    found = {"residues that rank highest, as many as the motif has": compare_with_motif(set(ranked.tolist()), motif)}
    if top := chain.top_substructure:
        found = {"most important substructure": compare_with_motif(set(top), motif), **found}
    size = len(top or motif)
    draws = [compare_with_motif(set(random_patches(chain.backbone, [size], random)[0]), motif) for _ in range(_DRAWS)]
    found["random substructure of the same size"] = {name: fmean(draw[name] for draw in draws) for name in draws[0]}
    return found


def compare_with_motif(residues: set[int], motif: set[int]) -> dict[str, float]:
    """Compares residues with those of a motif.

    Returns:
        `hit rate`: 1 if they share a residue, else 0; `IoU`: shared residues / residues in either; `precision`: the
        fraction of the residues that is in the motif; `recall`: the fraction of the motif that is found.

    >>> compare_with_motif({3, 4, 5, 6}, {5, 6, 7})
    {'hit rate': 1.0, 'IoU': 0.4, 'precision': 0.5, 'recall': 0.6666666666666666}
    """
    shared = len(residues & motif)
    return {
        "hit rate": float(shared > 0),
        "IoU": shared / len(residues | motif),
        "precision": shared / len(residues),
        "recall": shared / len(motif),
    }
