"""Chains as a network sees them: answers, importance, substructures, and how well these fit their codes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from partoken.protein.answers import Prediction
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.batch import collate
from partoken.protein.geometry.graph import featurize
from partoken.protein.geometry.secondary_structure import COIL, HELIX, STRAND, secondary_structure
from partoken.protein.model.codebook import Quantized
from partoken.protein.model.partoken import ParToken
from partoken.protein.predict import BATCH_RESIDUES, Predictor

__all__ = ["GivenChain", "SeenChain", "Substructure", "split_batches", "watch_chains"]


@dataclass(frozen=True)
class GivenChain:
    """A chain of a report."""

    backbone: Backbone
    split: str
    """`test`, `validation` or `train`; `given` if neither the run nor the list of weights that ship has its name."""
    truth: Mapping[str, str | None]
    """True class by label, several joined by semicolons; None, or no entry: unknown."""
    named: bool = False
    """True for a chain of a file that the user named."""


@dataclass(frozen=True)
class Substructure:
    """One substructure of a chain."""

    chain: int
    """Number of its chain in the report."""
    number: int
    """Its number in the chain, counted from 1."""
    token: int
    """Its code; -1 if the network bypasses the codebook."""
    importance: float
    residues: list[int]
    """Positions along the chain, counted from 0, ascending."""
    closeness: float | None
    """1 / (1 + d), where d is the mean over the channels of the squared difference between the standardised vector and
    its code; None without codes."""
    center: int
    """Position of its most important residue."""
    states: Mapping[str, float]
    """Fraction of its residues in a `helix`, a `strand` and neither, `coil`."""


@dataclass(frozen=True)
class SeenChain:
    """A chain with what the network says of it."""

    given: GivenChain
    prediction: Prediction
    """The answers, with the importance of each residue."""
    closeness: Sequence[float | None]
    """Closeness of each substructure to its code, see `Substructure`."""
    states: np.ndarray
    """Secondary structure of each residue, `[L]`."""
    place: int
    """Number of the chain in the report."""

    @property
    def backbone(self) -> Backbone:
        return self.given.backbone

    @cached_property
    def importance(self) -> np.ndarray:
        """Importance of each residue, `[L]`: sum 1."""
        return np.asarray(self.prediction.residue_importance)

    def is_right(self, label: str) -> bool | None:
        """Whether the answer to a label is the true class, or all true classes and no other; None: not known."""
        truth = self.given.truth.get(label)
        return None if truth is None else set(truth.split(";")) == set(self.prediction.answers[label].label.split(";"))

    @cached_property
    def substructures(self) -> list[Substructure]:
        """The substructures, in the order of the network."""
        parts = self.prediction
        rows = zip(parts.tokens, parts.importance, parts.residues, self.closeness, strict=True)
        return [
            Substructure(
                chain=self.place,
                number=number,
                token=token,
                importance=importance,
                residues=residues,
                closeness=closeness,
                center=residues[int(self.importance[residues].argmax())],
                states=_fractions(self.states[residues]),
            )
            for number, (token, importance, residues, closeness) in enumerate(rows, start=1)
        ]


def watch_chains(
    predictor: Predictor, chains: Sequence[GivenChain], method: str, *, progress: bool = False
) -> list[SeenChain]:
    """Lets a network answer for chains, in batches, and records what the report needs.

    Arguments:
        predictor: The network.
        chains: The chains.
        method: Method of the importance of residues.
        progress: True shows a progress bar.
    """
    seen: list[SeenChain] = []
    with tqdm(total=len(chains), unit=" chains", desc="explaining", disable=not progress) as bar:
        for batch in split_batches(chains):
            backbones = [one.backbone for one in batch]
            with _recorded_closeness(predictor.network) as recorded:
                predictions = predictor.explain_chains(backbones, method)
            states = _states(backbones)
            for i, (given, prediction) in enumerate(zip(batch, predictions, strict=True)):
                none: list[float | None] = [None] * len(prediction.tokens)
                closeness = recorded[i] if recorded else none
                seen.append(SeenChain(given, prediction, closeness, states[i], len(seen)))
            bar.update(len(batch))
    return seen


def split_batches(chains: Iterable[GivenChain]) -> Iterator[list[GivenChain]]:
    """Yields the chains in their order, in batches of a limited number of residues."""
    waiting: list[GivenChain] = []
    for one in chains:
        if waiting and sum(len(other.backbone) for other in waiting) + len(one.backbone) > BATCH_RESIDUES:
            yield waiting
            waiting = []
        waiting.append(one)
    if waiting:
        yield waiting


@contextmanager
def _recorded_closeness(network: ParToken) -> Iterator[list[list[float]]]:
    """Yields a list that the network's next answer fills: closeness to the codes, for each chain of the batch."""
    recorded: list[list[float]] = []
    if network.codebook is None:
        yield recorded
        return
    codes = network.codebook.get_buffer("codes")

    def record(_module: torch.nn.Module, _inputs: tuple[Tensor, ...], found: Quantized) -> None:
        distance = (found.standardised - codes[found.codes.clamp(min=0)]).square().mean(-1)
        closeness = (1 / (1 + distance)).detach().cpu()
        recorded[:] = [values[mask].tolist() for values, mask in zip(closeness, (found.codes >= 0).cpu(), strict=True)]

    handle = network.codebook.register_forward_hook(record)  # without a call, as in a bypass, nothing is recorded
    try:
        yield recorded
    finally:
        handle.remove()


def _states(backbones: Sequence[Backbone]) -> list[np.ndarray]:
    """Returns the secondary structure of the residues of each chain."""
    batch = collate(backbones)
    states = secondary_structure(featurize(batch.coords, batch.ptr, 1, features=False))
    return [part.numpy() for part in states.split(batch.ptr.diff().tolist())]


def _fractions(states: np.ndarray) -> dict[str, float]:
    names = {"helix": HELIX, "strand": STRAND, "coil": COIL}
    return {name: float((states == state).mean()) for name, state in names.items()}
