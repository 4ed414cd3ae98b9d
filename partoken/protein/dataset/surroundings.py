"""The surroundings of all residues of a run: computed once, then mapped from a file."""

import os
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from partoken.protein.chains.batch import collate
from partoken.protein.chains.cache import cached_features
from partoken.protein.chains.features import ResidueFeatures
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.embeddings import digest_chains
from partoken.protein.geometry.surroundings import SURROUNDINGS, SURROUNDINGS_VERSION, surroundings

__all__ = ["open_surroundings"]


def open_surroundings(store: ChainStore, rows: np.ndarray, folder: str | os.PathLike[str] | None) -> ResidueFeatures:
    """Opens the surroundings of the residues of chains, and first computes them if no run has done so.

    Arguments:
        store: the chains.
        rows: n rows of the store, int64.
        folder: cache folder; None takes the user's cache folder.

    Raises:
        UserError: the folder cannot be written.
    """

    def compute() -> Iterator[np.ndarray]:
        for row in tqdm(rows, desc="surroundings", unit="chain", disable=None, leave=False):
            batch = collate(store.read([row]))
            yield surroundings(batch.coords, batch.ptr).numpy()

    ids = [store.ids[row] for row in rows]
    key = [SURROUNDINGS_VERSION, digest_chains(store, rows)]
    return cached_features("surroundings", key, ids, store.lengths[rows], len(SURROUNDINGS), compute, folder)
