"""Numbers that are computed once for the chains of a run, batch by batch, and then mapped from a file."""

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

__all__ = ["open_computed"]

BATCH_RESIDUES = 2048
"""Largest number of residues at a time, unless a single chain has more: all pairs within a chain are in memory."""


def open_computed(
    name: str,
    version: int,
    width: int,
    compute: Callable[[ChainBatch], Tensor],
    store: ChainStore,
    rows: np.ndarray,
    folder: str | os.PathLike[str] | None,
    *,
    per_residue: bool,
) -> ResidueFeatures:
    """Opens numbers of chains, and first computes them if no run has done so.

    Arguments:
        name: what the numbers are, in the plural; the file name begins with it.
        version: a change of it invalidates the files.
        width: number D of numbers of a chain or residue.
        compute: returns the numbers of a batch, float32 `[B, D]` or `[N, D]`.
        store: the chains.
        rows: n rows of the store, int64.
        folder: cache folder; None takes the user's cache folder.
        per_residue: True: `compute` returns a row for each residue; False: for each chain.

    Raises:
        UserError: the folder cannot be written.
    """

    def batches() -> Iterator[np.ndarray]:
        with tqdm(total=len(rows), desc=name, unit="chain", disable=None, leave=False) as progress:
            for part in divide_chains(store.lengths[rows], BATCH_RESIDUES):
                yield compute(collate(store.read(rows[part]))).numpy()
                progress.update(len(part))

    ids = [store.ids[row] for row in rows]
    lengths = store.lengths[rows] if per_residue else np.ones(len(rows), np.int64)
    return cached_features(name, [version, digest_chains(store, rows)], ids, lengths, width, batches, folder)
