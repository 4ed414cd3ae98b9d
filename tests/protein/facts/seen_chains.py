"""Chains with made-up answers, for the tests of facts."""

import numpy as np

from partoken.protein.answers import LabelAnswer, Prediction
from partoken.protein.chains.backbone import Backbone, encode
from partoken.protein.facts.seen import GivenChain, SeenChain


def seen_chain(
    name="c",
    *,
    probabilities=None,
    truth="a",
    split="test",
    tokens=(7,),
    residues=((0, 1, 2),),
    closeness=None,
    sequence="ACDEFGHIKL",
    importance=None,
    place=0,
):
    """Returns a chain of a label without a name, with classes a and b, on a straight line."""
    probabilities = probabilities or {"a": 0.8, "b": 0.2}
    coords = np.zeros((len(sequence), 4, 3), np.float32)
    coords[:, :, 0] = np.arange(len(sequence))[:, None] * 3.8
    spread = np.full(len(sequence), 1 / len(sequence)) if importance is None else np.asarray(importance)
    prediction = Prediction(
        id=name,
        file=f"{name}.pdb",
        answers={"": LabelAnswer(max(probabilities, key=probabilities.__getitem__), probabilities)},
        tokens=list(tokens),
        importance=[1 / len(tokens)] * len(tokens),
        residues=[list(part) for part in residues],
        residue_importance=spread.tolist(),
    )
    backbone = Backbone(name, coords, encode(sequence))
    return SeenChain(
        GivenChain(backbone, split, {} if truth is None else {"": truth}, named=split == "given"),
        prediction,
        closeness or [0.5] * len(tokens),
        np.zeros(len(sequence), int),
        place,
    )
