"""What the network answers for a chain that lacks one of its substructures."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.batch import collate
from partoken.protein.geometry.surroundings import surroundings
from partoken.protein.model.labels import split_logits
from partoken.protein.predict import BATCH_RESIDUES, Predictor

__all__ = ["answers_without"]

_LEAST = 3
"""Residues that must remain."""


@torch.inference_mode()
def answers_without(
    predictor: Predictor, chain: Backbone, deleted: Sequence[Sequence[int]]
) -> list[dict[str, dict[str, float]]]:
    """Answers for copies of a chain, each of which lacks some residues, as if its file had no atoms of them.

    The network cuts what remains into substructures again, so no part of the answer can remember the deleted residues.
    The positions of the others along the chain stay as they are. Their surroundings stay those of the whole chain: a
    hole would look like a pocket.

    Arguments:
        predictor: The network.
        chain: The chain.
        deleted: Positions to delete, counted from 0, for each copy.

    Returns:
        The probability of each class, by label and name, for each copy; nothing for a copy of which fewer than three
        complete residues remain.
    """
    copies = [_without(chain, positions) for positions in deleted]
    usable = [
        number for number, copy in enumerate(copies) if np.isfinite(copy.coords[:, :3]).all((1, 2)).sum() >= _LEAST
    ]
    found: list[dict[str, dict[str, float]]] = [{} for _ in copies]
    at_once = max(1, BATCH_RESIDUES // len(chain))
    for begin in range(0, len(usable), at_once):
        numbers = usable[begin : begin + at_once]
        answers = _classify(predictor, chain, [copies[number] for number in numbers])
        for number, of_copy in zip(numbers, answers, strict=True):
            found[number] = of_copy
    return found


def _without(chain: Backbone, positions: Sequence[int]) -> Backbone:
    coords = chain.coords.copy()
    coords[list(positions)] = np.nan
    return replace(chain, coords=coords)


def _classify(predictor: Predictor, chain: Backbone, copies: Sequence[Backbone]) -> list[dict[str, dict[str, float]]]:
    """Answers for copies of a chain, in one batch."""
    features = None if predictor.features is None else predictor.features.read_all([chain.id] * len(copies))
    batch = collate(copies, features=features)
    if predictor.network.reads_surroundings:
        whole = collate([chain])
        present = batch.coords[:, :3].isfinite().flatten(1).all(1)
        kept = surroundings(whole.coords, whole.ptr).repeat(len(copies), 1) * present[:, None]
        batch = replace(batch, surroundings=kept)
    logits = predictor.network(**batch.to(predictor.device).inputs()).logits.float().cpu()
    found: list[dict[str, dict[str, float]]] = [{} for _ in copies]
    for name, scores in split_logits(logits, list(predictor.labels.values())).items():
        label = predictor.labels[name]
        probabilities = scores.sigmoid() if label.multi_label else scores.softmax(-1)
        for of_copy, values in zip(found, probabilities.tolist(), strict=True):
            of_copy[name] = dict(zip(label.class_names, values, strict=True))
    return found
