"""The labels that a network answers: their classes, and the place of each among the network's logits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["LearnedLabel", "learned_labels", "shares", "split_logits"]


@dataclass(frozen=True)
class LearnedLabel:
    """One label of a trained network, or of one in training."""

    name: str
    """Name of the label; "" if the network answers no other."""
    class_names: tuple[str, ...]
    """[C]: names of the classes, in the order of the logits."""
    multi_label: bool
    """True if a chain may have several classes."""
    class_counts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Chains of each class, by split."""
    train_chains: int = 0
    """Training chains with this label."""
    weight: float = 1.0
    """Weight in the loss and in the mean scores, relative to the other labels."""


def learned_labels(data: Mapping[str, Any]) -> tuple[LearnedLabel, ...]:
    """Reads the labels from the settings that a data module gives to its task, as a checkpoint has them.

    Arguments:
        data: `labels`, a mapping from names to the keys of `LearnedLabel`; or these keys, of a single label; or
            neither, for chains whose labels do not matter.

    >>> [label.class_names for label in learned_labels({"class_names": ["a", "b"], "multi_label": False})]
    [('a', 'b')]
    """
    single = {"": data} if "class_names" in data else {}
    return tuple(
        LearnedLabel(
            name=name,
            class_names=tuple(of_label["class_names"]),
            multi_label=bool(of_label["multi_label"]),
            class_counts=of_label.get("class_counts", {}),
            train_chains=of_label.get("train_chains", 0),
            weight=of_label.get("weight", 1.0),
        )
        for name, of_label in data.get("labels", single).items()
    )


def shares(labels: Sequence[LearnedLabel]) -> list[float]:
    """Returns the fraction of each label in the loss and in the mean scores; their sum is 1."""
    weights = [label.weight for label in labels]
    return [weight / sum(weights) for weight in weights]


def split_logits(logits: Tensor, labels: Sequence[LearnedLabel]) -> dict[str, Tensor]:
    """Returns the logits `[B, C]` of each label by its name, from those of all classes, `[B, sum of C]`."""
    parts = logits.split([len(label.class_names) for label in labels], dim=-1)
    return {label.name: part for label, part in zip(labels, parts, strict=True)}
