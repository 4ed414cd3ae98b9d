"""What a network answers for a chain, in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from partoken.errors import UserError
from partoken.protein.model.contributions import answer_shares
from partoken.protein.model.labels import LearnedLabel

__all__ = ["LabelAnswer", "Prediction", "answer_label", "only_label"]


@dataclass(frozen=True)
class LabelAnswer:
    """The model's answer to one label of a chain."""

    label: str
    """Name of the class. If a chain may have several classes: all with a probability of at least one half, joined by
    semicolons."""
    probabilities: dict[str, float]
    """Probability of each class, by name."""
    parts: dict[str, float] = field(default_factory=dict)
    """Fraction of the answer that came from each part of the network, such as `substructures` or `whole chain`; see
    `partoken.protein.model.contributions`. They sum to 1, or to 0 if no part argues for the answer."""

    @property
    def confidence(self) -> float:
        """The largest probability."""
        return max(self.probabilities.values())


@dataclass(frozen=True)
class Prediction:
    """The model's answer for one chain."""

    id: str
    """Name of the chain: the name of its file, followed by the chain's own name if the file has more than one."""
    file: str
    """File that contains the chain."""
    answers: dict[str, LabelAnswer]
    """The answer to each label of the network, by its name; "" is the name of a single one."""
    tokens: list[int]
    """Code of each substructure."""
    importance: list[float]
    """Weight of each substructure in the answer; the sum is 1."""
    residues: list[list[int]]
    """Residues of each substructure, counted from 0 along the chain."""
    attention: dict[str, list[float]] = field(default_factory=dict)
    """Weight of each residue in what a label reads by attention, by name of the label: sum 1, 0 for a missing residue.
    Empty if the network reads no residues by attention (`model.residue_attention=false`)."""
    numbers: list[str] = field(default_factory=list)
    """Number of each residue in its file, with its insertion code, such as 102A; empty if there is no file."""
    residue_importance: list[float] = field(default_factory=list)
    """How much the predicted classes depend on each residue, see `partoken.protein.model.importance`: sum 1. Empty if
    nobody asked for it, see `Predictor.explain`."""

    @property
    def label(self) -> str:
        """The class, if the network answers a single label; see `LabelAnswer.label`.

        Raises:
            UserError: it answers several.
        """
        return only_label(self.answers, "answers").label

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each class by name, if the network answers a single label.

        Raises:
            UserError: it answers several.
        """
        return only_label(self.answers, "answers").probabilities

    @property
    def confidence(self) -> float:
        """The largest probability, if the network answers a single label.

        Raises:
            UserError: it answers several.
        """
        return only_label(self.answers, "answers").confidence


def answer_label(
    label: LearnedLabel, logits: torch.Tensor, contributions: Mapping[str, torch.Tensor]
) -> list[LabelAnswer]:
    """Returns the answers to a label for each chain, from the logits of its classes and their parts, `[B, C]` each."""
    probabilities = (logits.sigmoid() if label.multi_label else logits.softmax(-1)).cpu()
    origins = {name: share.tolist() for name, share in answer_shares(contributions, logits.argmax(1)).items()}
    answers = []
    for i, of_chain in enumerate(probabilities.tolist()):
        by_name = dict(zip(label.class_names, of_chain, strict=True))
        if label.multi_label:
            chosen = ";".join(name for name, probability in by_name.items() if probability >= 0.5)
        else:
            chosen = max(by_name, key=by_name.__getitem__)
        answers.append(LabelAnswer(chosen, by_name, {name: share[i] for name, share in origins.items()}))
    return answers


def only_label(values: Mapping[str, Any], attribute: str) -> Any:
    """Returns the value for the only label.

    Raises:
        UserError: there are several labels.
    """
    if len(values) > 1:
        names = list(values)
        raise UserError(f"this network answers several labels ({', '.join(names)}): use .{attribute}[{names[0]!r}]")
    return next(iter(values.values()))
