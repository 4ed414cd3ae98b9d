"""Numbers of whole chains, their composition and their fold: computed once, then mapped from a file."""

import os
from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor
from tqdm import tqdm

from partoken.protein.chains.batch import ChainBatch, collate
from partoken.protein.chains.cache import cached_features
from partoken.protein.chains.features import ResidueFeatures
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.embeddings import digest_chains, divide_chains
from partoken.protein.geometry.composition import COMPOSITION_VERSION, COMPOSITION_WIDTH, composition
from partoken.protein.geometry.fold import FOLD_VERSION, FOLD_WIDTH, fold_geometry

__all__ = ["open_compositions", "open_folds"]

BATCH_RESIDUES = 2048
"""Largest number of residues at a time, unless a single chain has more: all pairs within a chain are in memory."""


def open_folds(store: ChainStore, rows: np.ndarray, folder: str | os.PathLike[str] | None) -> ResidueFeatures:
    """Opens the fold geometry of chains, one row per chain, and first computes it if no run has done so.

    Arguments:
        store: the chains.
        rows: n rows of the store, int64.
        folder: cache folder; None takes the user's cache folder.

    Raises:
        UserError: the folder cannot be written.
    """

    def compute(batch: ChainBatch) -> Tensor:
        return fold_geometry(batch.coords, batch.ptr)

    return _open("fold geometry", "folds", FOLD_VERSION, FOLD_WIDTH, compute, store, rows, folder)


def open_compositions(store: ChainStore, rows: np.ndarray, folder: str | os.PathLike[str] | None) -> ResidueFeatures:
    """Opens composition and backbone angles of chains, as `open_folds` does for their folds."""

    def compute(batch: ChainBatch) -> Tensor:
        return composition(batch.coords, batch.ptr, batch.sequence)

    return _open("composition", "compositions", COMPOSITION_VERSION, COMPOSITION_WIDTH, compute, store, rows, folder)


def _open(
    what: str,
    name: str,
    version: int,
    width: int,
    compute: Callable[[ChainBatch], Tensor],
    store: ChainStore,
    rows: np.ndarray,
    folder: str | os.PathLike[str] | None,
) -> ResidueFeatures:
    def rows_of_chains() -> Iterator[np.ndarray]:
        with tqdm(total=len(rows), desc=what, unit="chain", disable=None, leave=False) as progress:
            for part in divide_chains(store.lengths[rows], BATCH_RESIDUES):
                yield compute(collate(store.read(rows[part]))).numpy()
                progress.update(len(part))

    ids = [store.ids[row] for row in rows]
    key = [version, digest_chains(store, rows)]
    return cached_features(name, key, ids, np.ones(len(rows), np.int64), width, rows_of_chains, folder)
