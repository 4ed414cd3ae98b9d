"""Chains with what a network answers for them and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from partoken.protein.answers import Prediction
from partoken.protein.chains.backbone import Backbone
from partoken.protein.predict import BATCH_RESIDUES, Predictor

__all__ = ["ExplainedChain", "batches", "explain_chains", "present_residues"]


@dataclass(frozen=True, eq=False)
class ExplainedChain:
    """A chain, its split in the run, and its explained answer."""

    backbone: Backbone
    split: str
    """`train`, `val`, `test`, `given`, or `unused` for a chain of the source that the run did not use."""
    prediction: Prediction
    """With the importance of each residue."""

    @property
    def top_substructure(self) -> list[int]:
        """Residues of the most important substructure; none if the network has no substructures."""
        found = self.prediction
        return found.residues[int(np.argmax(found.importance))] if found.residues else []


def explain_chains(
    predictor: Predictor,
    chains: Sequence[Backbone],
    splits: Sequence[str],
    method: str | None = None,
    title: str = "explaining",
) -> list[ExplainedChain]:
    """Explains chains in batches, with a progress bar.

    Arguments:
        predictor: The network.
        chains: The chains, in any order.
        splits: The split of each chain.
        method: Method of the importance; None: the default of the network.
        title: What the progress bar says.

    Raises:
        UserError: the network does not support the method.
    """
    explained: list[ExplainedChain] = []
    with tqdm(total=len(chains), unit=" chains", desc=title) as bar:
        for batch in batches(chains):
            for chain, prediction in zip(batch, predictor.explain_chains(batch, method), strict=True):
                explained.append(ExplainedChain(chain, splits[len(explained)], prediction))
            bar.update(len(batch))
    return explained


def batches(chains: Sequence[Backbone]) -> Iterator[list[Backbone]]:
    """Yields chains in their order, in batches of up to `BATCH_RESIDUES` residues."""
    waiting: list[Backbone] = []
    for chain in chains:
        if waiting and sum(map(len, waiting)) + len(chain) > BATCH_RESIDUES:
            yield waiting
            waiting = []
        waiting.append(chain)
    if waiting:
        yield waiting


def present_residues(chain: Backbone) -> np.ndarray:
    """Returns the positions of the residues that have N, CA and C, int64 `[P]`."""
    return np.flatnonzero(np.isfinite(chain.coords[:, :3]).all((1, 2)))
