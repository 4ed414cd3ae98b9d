"""The surroundings of all residues of a run: computed once, then mapped from a file."""

import os

import numpy as np
from torch import Tensor

from partoken.protein.chains.batch import ChainBatch
from partoken.protein.chains.features import ResidueFeatures
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.computed import open_computed
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

    def compute(batch: ChainBatch) -> Tensor:
        return surroundings(batch.coords, batch.ptr)

    version, width = SURROUNDINGS_VERSION, len(SURROUNDINGS)
    return open_computed("surroundings", version, width, compute, store, rows, folder, per_residue=True)
