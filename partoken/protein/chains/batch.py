"""Chains as the network takes them: a flat batch of backbones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from partoken.protein.chains.backbone import Backbone

__all__ = ["Backbone", "ChainBatch", "collate"]


@dataclass(frozen=True, eq=False)
class ChainBatch:
    """Chains one after another, without padding: B chains, N residues in all.

    Lightning moves it to the device and PyTorch's loaders pin it, through `to` and `pin_memory`.
    """

    coords: Tensor
    """float32 [N, 4, 3]: N, CA, C, O in angstrom, NaN where an atom is missing."""
    sequence: Tensor
    """int64 [N]: amino acid codes 0 to 19, 20 for unknown."""
    ptr: Tensor
    """int64 [B + 1]: chain i has the residues ptr[i] to ptr[i + 1]."""
    label: Tensor | None
    """int64 [B] class numbers, or float32 [B, C] zeros and ones where a chain may have several; None: not known."""
    index: Tensor
    """int64 [B]: the chain's row in the data set."""
    ids: tuple[str, ...]
    """The chains' names."""

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: Any, non_blocking: bool = True) -> "ChainBatch":
        """Returns the batch on another device."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "ChainBatch":
        """Returns the batch in page-locked memory, from which a GPU copies while it computes."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Any) -> "ChainBatch":
        label = None if self.label is None else function(self.label)
        coords, sequence, ptr, index = map(function, (self.coords, self.sequence, self.ptr, self.index))
        return ChainBatch(coords, sequence, ptr, label, index, self.ids)


def collate(chains: Sequence[Backbone], label: Tensor | None = None, index: Sequence[int] | None = None) -> ChainBatch:
    """Puts chains one after another.

    Arguments:
        chains: B chains, B > 0.
        label: int64 [B] or float32 [B, C].
        index: the chains' rows in the data set; by default 0 to B - 1.

    Example:

    >>> def chain(name, length):
    ...     return Backbone(name, np.zeros((length, 4, 3), np.float32), np.zeros(length, np.uint8))
    >>> collate([chain("short", 2), chain("long", 5)]).ptr
    tensor([0, 2, 7])
    """
    lengths = np.array([len(c) for c in chains])
    return ChainBatch(
        coords=torch.from_numpy(np.concatenate([c.coords for c in chains])),
        sequence=torch.from_numpy(np.concatenate([c.sequence for c in chains]).astype(np.int64)),
        ptr=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])),
        label=label,
        index=torch.arange(len(chains)) if index is None else torch.as_tensor(index, dtype=torch.int64),
        ids=tuple(c.id for c in chains),
    )
