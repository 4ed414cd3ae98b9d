"""What a user is told of residue importance: what it learned from, and how often it is right."""

from collections.abc import Mapping, Sequence
from typing import Any

from partoken.protein.model.importance import METHODS
from partoken.protein.model.labels import LearnedLabel

__all__ = ["introduce_importance"]


def introduce_importance(
    about: Mapping[str, Any], labels: Sequence[LearnedLabel], method: str, found: str | None = None
) -> str:
    """Says in one line what the importance of a residue is, what was learned from what, and how often it is right.

    Arguments:
        about: What is known of weights that ship. `about["importance"]` has, by method, `recall`, the fraction of the
            known catalytic residues among the tenth of the residues that ranks highest, and `enzymes`, their number.
        labels: The labels that the network answers.
        method: The method of the importance.
        found: How often it finds known sites, as the caller measured it; None: as `about` has it.

    Example:
        >>> label = LearnedLabel("", ("a", "b"), False, train_chains=40)
        >>> introduce_importance({}, [label], "prior")  # doctest: +NORMALIZE_WHITESPACE
        'residue importance (prior): closeness to the centroid x pocket, without the network; the classes of 40 chains
        were learned, no sites; how often it finds sites was not measured for this checkpoint'
    """
    chains = about.get("chains") or max((label.train_chains for label in labels), default=0)
    measured = about.get("importance", {}).get(method)
    right = found or "how often it finds sites was not measured for this checkpoint"
    if measured and not found:
        right = (
            f"the tenth ranked highest has {measured['recall']:.2f} of the catalytic residues of "
            f"{measured['enzymes']} enzymes (by chance 0.10){_better(about['importance'], method)}"
        )
    learned = f"the classes of {chains:,} chains were learned, no sites"
    return f"residue importance ({method}): {METHODS[method]}; {learned}; {right}"


def _better(recalls: Mapping[str, Mapping[str, float]], method: str) -> str:
    """Names the method that finds more sites than another one; "" if it is the best."""
    best = max(recalls, key=lambda name: recalls[name]["recall"])
    if recalls[best]["recall"] <= recalls[method]["recall"]:
        return ""
    return f"; with --importance {best} it has {recalls[best]['recall']:.2f}"
