"""The labelled chains of one split."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from partoken.protein.chains.batch import ChainBatch, collate
from partoken.protein.chains.store import ChainStore

__all__ = ["ChainDataset"]


class ChainDataset(Dataset):
    """Chains of one split; an item is a whole batch, asked for by the list of its rows.

    Arguments:
        store: where the chains are.
        rows: [n] the split's chains in the store.
        labels: int64 [n] or float32 [n, C].
    """

    def __init__(self, store: ChainStore, rows: np.ndarray, labels: np.ndarray) -> None:
        self.store = store
        self.rows = rows
        self.labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]: residues of each chain."""
        return self.store.lengths[self.rows]

    @property
    def ids(self) -> list[str]:
        """Names of the chains, in the order of `ChainBatch.index`."""
        return [self.store.ids[row] for row in self.rows]

    def __getitem__(self, batch: Sequence[int]) -> ChainBatch:
        return collate(self.store.read(self.rows[batch]), self.labels[batch], batch)
