"""Known sites: how high an explanation ranks them, beside random substructures and geometric lines."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import torch

from partoken.protein.explanation_checks.explained import ExplainedChain
from partoken.protein.explanation_checks.patches import random_patches
from partoken.protein.explanation_checks.ranking import score_ranking, share_inside
from partoken.protein.geometry.surroundings import SURROUNDINGS, surroundings

__all__ = ["BY_IMPORTANCE", "COUNTS", "IMPORTANCE", "geometric_lines", "score_residues", "score_substructures"]

COUNTS = (1, 3, 5)
"""Numbers of substructures that a person would look at."""
IMPORTANCE = "importance, default method"
"""The line of the explanation itself."""
BY_IMPORTANCE = "substructures by importance"
"""The line of the substructures in their own order."""
_DRAWS = 20
"""Random sets of substructures of each chain."""


def geometric_lines(chain: ExplainedChain) -> dict[str, np.ndarray]:
    """Returns rankings of residues that need no network, `[L]` each: the prior is closeness x pocket."""
    coords = torch.from_numpy(chain.backbone.coords)
    numbers = surroundings(coords, torch.tensor([0, len(coords)])).numpy()
    closeness, pocket = (numbers[:, SURROUNDINGS.index(name)] for name in ("closeness", "pocket"))
    return {"closeness to the centroid": closeness, "pocket": pocket, "prior": closeness * pocket}


def score_residues(
    chain: ExplainedChain, known: Sequence[int], lines: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Scores rankings of the residues of a chain: that of the explanation, further lines, and chance.

    Arguments:
        chain: The chain.
        known: Positions of its known sites, one or more.
        lines: Further rankings by name, `[L]` each, such as `geometric_lines`.

    Returns:
        By line, the fraction of the sites in the top tenth, whether all are in the top 20, and their median rank.
    """
    own = np.array(chain.prediction.residue_importance)
    scores = {}
    for name, ranking in {IMPORTANCE: own, **lines, "random": np.zeros(len(own))}.items():
        found = score_ranking(ranking, known)
        scores[name] = {
            "in the top tenth": found.in_top_tenth,
            "all in the top 20": found.all_in_top_20,
            "median rank": found.median_rank,
        }
    return scores


def score_substructures(
    chain: ExplainedChain, known: Sequence[int], lines: Mapping[str, np.ndarray], random: np.random.Generator
) -> dict[str, dict[str, float]]:
    """Computes the fraction of the sites inside the first substructures, in several orders.

    Arguments:
        chain: The chain.
        known: Positions of its known sites, one or more.
        lines: Rankings of residues by name, `[L]` each: the same substructures are also ordered by their mean.
        random: Draws substructures of the same sizes, in random order.

    Returns:
        By line, the fraction inside the first 1, 3 and 5; nothing if the network has no substructures.
    """
    own, importance = chain.prediction.residues, chain.prediction.importance
    if not own:
        return {}
    found = {BY_IMPORTANCE: share_inside(own, importance, known, COUNTS)}
    for name, ranking in lines.items():
        means = [float(ranking[residues].mean()) for residues in own]
        found[f"the same by {name}"] = share_inside(own, means, known, COUNTS)
    sizes = [len(own[number]) for number in np.argsort(-np.array(importance), kind="stable")][: max(COUNTS)]
    draws = []
    for _ in range(_DRAWS):
        patches = random_patches(chain.backbone, sizes, random)
        draws.append(share_inside(patches, [0.0] * len(patches), known, COUNTS))
    found["random of the same sizes"] = {count: fmean(draw[count] for draw in draws) for count in COUNTS}
    return {name: {f"in the first {count}": share[count] for count in COUNTS} for name, share in found.items()}
