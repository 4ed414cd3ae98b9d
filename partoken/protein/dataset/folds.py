"""The fold geometry of all chains of a run: computed once, then mapped from a file."""

import os
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from partoken.protein.chains.batch import collate
from partoken.protein.chains.cache import cached_features
from partoken.protein.chains.features import ResidueFeatures
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.embeddings import digest_chains, divide_chains
from partoken.protein.geometry.fold import FOLD_VERSION, FOLD_WIDTH, fold_geometry

__all__ = ["open_folds"]


def open_folds(store: ChainStore, rows: np.ndarray, folder: str | os.PathLike[str] | None) -> ResidueFeatures:
    """Opens the fold geometry of chains, one row per chain, and first computes it if no run has done so.

    Arguments:
        store: the chains.
        rows: n rows of the store, int64.
        folder: cache folder; None takes the user's cache folder.

    Raises:
        UserError: the folder cannot be written.
    """

    def compute() -> Iterator[np.ndarray]:
        with tqdm(total=len(rows), desc="fold geometry", unit="chain", disable=None, leave=False) as progress:
            for part in divide_chains(store.lengths[rows]):
                batch = collate(store.read(rows[part]))
                yield fold_geometry(batch.coords, batch.ptr).numpy()
                progress.update(len(part))

    ids = [store.ids[row] for row in rows]
    key = [FOLD_VERSION, digest_chains(store, rows)]
    return cached_features("folds", key, ids, np.ones(len(rows), np.int64), FOLD_WIDTH, compute, folder)
