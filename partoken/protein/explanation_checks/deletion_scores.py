"""Deletion and sufficiency: what the answer loses without the important residues, and what they carry alone."""

from collections.abc import Mapping
from math import ceil
from statistics import fmean

import numpy as np

from partoken.protein.explanation_checks.deletion import answers_without
from partoken.protein.explanation_checks.explained import ExplainedChain, present_residues
from partoken.protein.explanation_checks.patches import random_patches
from partoken.protein.predict import Predictor

__all__ = ["PART", "SUBSTRUCTURE", "score_deletion"]

SUBSTRUCTURE = "most important substructure"
PART = "tenth of the residues that ranks highest"
_DRAWS = 2
"""Random deletions for each deletion."""


def score_deletion(
    predictor: Predictor, chain: ExplainedChain, random: np.random.Generator
) -> dict[str, dict[str, dict[str, float]]]:
    """Measures how the probability of the predicted class depends on the important residues of a chain.

    A network never saw chains with holes, so each deletion falls a little whatever is deleted. The control deletes as
    many residues at a random place, nearest neighbours in space.

    Arguments:
        predictor: The network.
        chain: The chain.
        random: Draws the controls.

    Returns:
        By what is deleted and by label: `probability` of the class for the whole chain; `fall` and `random fall`, how
        far it falls without these residues; `falls more`, 1 if further than random; `alone` and `random alone`, the
        probability for these residues alone. What leaves fewer than three residues is left out.
    """
    importance = np.array(chain.prediction.residue_importance)
    ranked = np.argsort(-importance, kind="stable")[: ceil(len(importance) / 10)]
    parts = {SUBSTRUCTURE: chain.top_substructure, PART: sorted(ranked.tolist())}
    scores = {}
    for name, residues in parts.items():
        if residues and (found := _of_part(predictor, chain, residues, random)):
            scores[name] = found
    return scores


def _of_part(
    predictor: Predictor, chain: ExplainedChain, residues: list[int], random: np.random.Generator
) -> dict[str, dict[str, float]]:
    drawn = [random_patches(chain.backbone, [len(residues)], random)[0] for _ in range(_DRAWS)]
    parts, present = [residues, *drawn], present_residues(chain.backbone)
    others = [np.setdiff1d(present, part).tolist() for part in parts]
    answers = answers_without(predictor, chain.backbone, [*parts, *others])
    if not all(answers):
        return {}
    return {label: _compare(label, chain, answers) for label in chain.prediction.answers}


def _compare(label: str, chain: ExplainedChain, answers: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    """Compares the probability of the predicted class of a label with those for copies of the chain."""
    whole: Mapping[str, float] = chain.prediction.answers[label].probabilities
    predicted = max(whole, key=whole.__getitem__)
    probabilities = [answer[label][predicted] for answer in answers]
    without, alone = probabilities[: _DRAWS + 1], probabilities[_DRAWS + 1 :]
    falls, random_falls = whole[predicted] - without[0], whole[predicted] - fmean(without[1:])
    return {
        "probability": whole[predicted],
        "fall": falls,
        "random fall": random_falls,
        "falls more": (falls > random_falls) + 0.5 * (falls == random_falls),
        "alone": alone[0],
        "random alone": fmean(alone[1:]),
    }
