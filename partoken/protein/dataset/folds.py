"""Numbers of whole chains, their composition and their fold: computed once, then mapped from a file."""

import os

import numpy as np
from torch import Tensor

from partoken.protein.chains.batch import ChainBatch
from partoken.protein.chains.features import ResidueFeatures
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.computed import open_computed
from partoken.protein.geometry.composition import COMPOSITION_VERSION, COMPOSITION_WIDTH, composition
from partoken.protein.geometry.fold import FOLD_VERSION, FOLD_WIDTH, fold_geometry

__all__ = ["open_compositions", "open_folds"]


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

    return open_computed("folds", FOLD_VERSION, FOLD_WIDTH, compute, store, rows, folder, per_residue=False)


def open_compositions(store: ChainStore, rows: np.ndarray, folder: str | os.PathLike[str] | None) -> ResidueFeatures:
    """Opens composition and backbone angles of chains, as `open_folds` does for their folds."""

    def compute(batch: ChainBatch) -> Tensor:
        return composition(batch.coords, batch.ptr, batch.sequence)

    version, width = COMPOSITION_VERSION, COMPOSITION_WIDTH
    return open_computed("compositions", version, width, compute, store, rows, folder, per_residue=False)
