"""The dictionary of tokens: how often each occurs, what goes with it, and what its substructures look like."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from partoken.protein.chains.backbone import UNKNOWN, decode
from partoken.protein.facts.conservation import Place, conserved_residues
from partoken.protein.facts.enrichment import Enrichment, enrichments
from partoken.protein.facts.recurrence import Recurrence, Trace, recurrences
from partoken.protein.facts.seen import SeenChain, Substructure

__all__ = ["describe_tokens"]

_EXAMPLES = 4
"""Typical substructures of a token, and weakest ones."""
_SIGNIFICANT = 0.05
"""Classes with a smaller corrected p-value are listed."""
_AT_LEAST = 3
"""Classes that are listed in any case."""


def describe_tokens(chains: Sequence[SeenChain], num_tokens: int, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Describes every token of a codebook, the most frequent first and the dead ones last.

    Enrichment of classes is that among chains that the network did not learn from. The class of a chain is the true
    one; of a chain whose true class is not known, it is left out.

    Arguments:
        chains: The chains.
        num_tokens: Number of codes.
        labels: Names of the labels.

    Returns:
        Plain values, see the manual's page on reports. A token without a substructure in these chains is dead.
    """
    of_token: dict[int, list[Substructure]] = {}
    for chain in chains:
        for one in chain.substructures:
            if one.token >= 0:
                of_token.setdefault(one.token, []).append(one)
    classes = _enriched_classes(chains, labels)
    recurring = recurrences({token: [_trace(chains, one) for one in own] for token, own in of_token.items()})
    background = np.sum([_composition(chain) for chain in chains], axis=0)
    places = {token: [_place(chains, one) for one in own] for token, own in of_token.items()}
    conserved = conserved_residues(places, background)
    whole = sum(map(len, of_token.values()))
    ordered = sorted(of_token, key=lambda token: (-len(of_token[token]), token))
    living = [
        {
            "token": token,
            "count": len(of_token[token]),
            "chains": len({one.chain for one in of_token[token]}),
            "share": len(of_token[token]) / whole,
            "dead": False,
            "classes": classes.get(token, []),
            **_examples(chains, of_token[token]),
            **_shape(of_token[token]),
            "conserved": [one._asdict() for one in conserved[token]],
            "recurrence": _rounded(recurring[token]),
        }
        for token in ordered
    ]
    dead: list[dict[str, Any]] = [
        {"token": token, "count": 0, "chains": 0, "share": 0.0, "dead": True}
        for token in range(num_tokens)
        if token not in of_token
    ]
    return living + dead


def _enriched_classes(chains: Sequence[SeenChain], labels: Sequence[str]) -> dict[int, list[dict[str, Any]]]:
    """Returns the classes that go with each token; p-values are corrected within a label."""
    listed: dict[int, list[dict[str, Any]]] = {}
    for label in labels:
        known = [one for one in chains if one.given.split != "train" and one.given.truth.get(label)]
        groups = [frozenset(str(one.given.truth[label]).split(";")) for one in known]
        found: dict[int, list[Enrichment]] = {}
        for pair in enrichments([{token for token in one.prediction.tokens if token >= 0} for one in known], groups):
            found.setdefault(pair.token, []).append(pair)
        for token, pairs in found.items():
            kept = [pair for place, pair in enumerate(pairs) if place < _AT_LEAST or pair.q < _SIGNIFICANT]
            listed.setdefault(token, []).extend(_class_row(label, pair) for pair in kept)
    return listed


def _class_row(label: str, pair: Enrichment) -> dict[str, Any]:
    return {
        "label": label,
        "class": pair.group,
        "count": pair.together,
        "expected": round(pair.expected, 3),
        "enrichment": round(pair.enrichment, 3),
        "p": float(f"{pair.p:.3g}"),
        "q": float(f"{pair.q:.3g}"),
    }


def _examples(chains: Sequence[SeenChain], own: Iterable[Substructure]) -> dict[str, list[dict[str, Any]]]:
    """Returns the substructures that are closest to the code and those that are farthest, from different chains."""
    ranked = sorted(own, key=lambda one: -(one.closeness or 0.0))
    typical, weakest = _first_of_chains(ranked), _first_of_chains(reversed(ranked))
    shown = {(one.chain, one.number) for one in typical}
    return {
        "typical": [_example(chains, one) for one in typical],
        "weakest": [_example(chains, one) for one in weakest if (one.chain, one.number) not in shown],
    }


def _first_of_chains(ranked: Iterable[Substructure]) -> list[Substructure]:
    first: dict[int, Substructure] = {}
    for one in ranked:
        if len(first) < _EXAMPLES:
            first.setdefault(one.chain, one)
    return list(first.values())


def _example(chains: Sequence[SeenChain], one: Substructure) -> dict[str, Any]:
    """Describes a substructure so that it can be drawn without the page of its chain."""
    chain = chains[one.chain].backbone
    points = chain.coords[one.residues, 1]
    return {
        "chain": chain.id,
        "substructure": one.number,
        "closeness": None if one.closeness is None else round(one.closeness, 4),
        "positions": one.residues,
        "sequence": decode(chain.sequence[one.residues]),
        "trace": [[round(float(x), 1) for x in point] if np.isfinite(point).all() else None for point in points],
    }


def _shape(own: Sequence[Substructure]) -> dict[str, float]:
    """Returns the mean size and secondary structure of the substructures of a token."""
    states = {name: float(np.mean([one.states[name] for one in own])) for name in ("helix", "strand", "coil")}
    return {**{name: round(value, 4) for name, value in states.items()}, "size_mean": _mean_size(own)}


def _mean_size(own: Sequence[Substructure]) -> float:
    return round(float(np.mean([len(one.residues) for one in own])), 2)


def _rounded(found: Recurrence) -> Mapping[str, Any]:
    median, chance = found.rmsd_median, found.by_chance
    return {
        "aligned": found.aligned,
        "tried": found.tried,
        "rmsd_median": None if median is None else round(median, 2),
        "by_chance": None if chance is None else round(chance, 3),
    }


def _trace(chains: Sequence[SeenChain], one: Substructure) -> Trace:
    return Trace(one.chain, chains[one.chain].backbone.coords[one.residues, 1].astype(float))


def _place(chains: Sequence[SeenChain], one: Substructure) -> Place:
    return Place(chains[one.chain].backbone.sequence, one.center)


def _composition(chain: SeenChain) -> np.ndarray:
    return np.bincount(chain.backbone.sequence, minlength=UNKNOWN + 1)
