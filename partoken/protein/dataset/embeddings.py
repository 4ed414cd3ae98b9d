"""Residue embeddings of a frozen encoder: computed once for all chains of a run, then mapped from a file."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from partoken.protein.chains.batch import ChainBatch, collate
from partoken.protein.chains.cache import cached_features
from partoken.protein.chains.features import ResidueFeatures
from partoken.protein.chains.store import ChainStore

__all__ = ["digest_chains", "divide_chains", "open_embeddings"]

BATCH_RESIDUES = 8192
"""Largest number of residues that are embedded at a time, unless a single chain has more."""


def open_embeddings(
    store: ChainStore,
    rows: np.ndarray,
    encoder: str,
    encode: Callable[[ChainBatch], Tensor],
    width: int,
    folder: Any,
    features: ResidueFeatures | None = None,
) -> ResidueFeatures:
    """Opens the embeddings of chains, and first computes them unless the same encoder has embedded the same chains.

    Arguments:
        store: the chains.
        rows: n rows of the store, int64.
        encoder: digest of the encoder.
        encode: computes the embeddings of the N residues of a batch, float32 [N, D].
        width: number D of values for a residue.
        folder: cache folder; None takes the user's cache folder.
        features: features of these residues that the encoder reads; None: there are none.

    Raises:
        UserError: the folder cannot be written.
    """

    def compute() -> Iterator[np.ndarray]:
        with tqdm(total=len(rows), desc="embedding", unit="chain", disable=None, leave=False) as progress:
            for part in divide_chains(store.lengths[rows], BATCH_RESIDUES):
                chains = store.read(rows[part])
                given = None if features is None else features.read_all(chain.id for chain in chains)
                yield encode(collate(chains, features=given)).float().cpu().numpy()
                progress.update(len(part))

    ids = [store.ids[row] for row in rows]
    key = [encoder, digest_chains(store, rows), *([] if features is None else features.fingerprint)]
    return cached_features("embeddings", key, ids, store.lengths[rows], width, compute, folder)


def divide_chains(lengths: np.ndarray, max_residues: int) -> Iterator[list[int]]:
    """Divides chains into batches in their order, so that each has the same batch mates every time.

    Arguments:
        lengths: residues of each chain, int64 [n].
        max_residues: largest number of residues of a batch, unless a single chain has more.
    """
    part: list[int] = []
    residues = 0
    for position, length in enumerate(lengths.tolist()):
        if part and residues + length > max_residues:
            yield part
            part, residues = [], 0
        part.append(position)
        residues += length
    if part:
        yield part


def digest_chains(store: ChainStore, rows: np.ndarray) -> str:
    """Returns a digest of the names, coordinates and residue types of chains."""
    digest = hashlib.sha256()
    for row in rows:
        (chain,) = store.read([row])
        for content in (chain.id.encode(), chain.coords.tobytes(), chain.sequence.tobytes()):
            digest.update(content)
    return digest.hexdigest()
