"""Batches of chains as the network takes them: flat, without padding."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from partoken.protein.chains.backbone import Backbone
from partoken.system.distributed import Rows

__all__ = ["Backbone", "ChainBatch", "ChainShare", "collate", "is_labelled"]


class ChainShare(NamedTuple):
    """The place of a batch in the batch of all devices."""

    chains: Rows
    residues: Rows


@dataclass(eq=False)  # not frozen: Lightning sets the tensors of a copy if trainer.precision=64-true
class ChainBatch:
    """B chains with N residues in total, one chain after another.

    Lightning moves a batch to the device with `to`; PyTorch's data loaders pin it with `pin_memory`.
    """

    coords: Tensor
    """float32 [N, 4, 3]: N, CA, C, O in angstrom; NaN for a missing atom."""
    sequence: Tensor
    """int64 [N]: amino acid codes 0 to 19, 20 for unknown."""
    ptr: Tensor
    """int64 [B + 1]: chain i has the residues `ptr[i]` to `ptr[i + 1]`."""
    labels: dict[str, Tensor]
    """Labels to learn by name, "" if there is only one; {}: unknown. int64 [B]: class numbers, -1 for an unlabelled
    chain. float32 [B, C] for multi-label data: zeros and ones, NaN in the row of an unlabelled chain."""
    index: Tensor
    """int64 [B]: the row of each chain in its data set."""
    ids: tuple[str, ...]
    """B names of chains."""
    weights: Tensor | None = None
    """float32 [B]: weight of each chain in the loss; None: all chains count the same."""
    share: ChainShare | None = None
    """The place of these chains in the batch of all devices; None: there is one device."""
    features: Tensor | None = None
    """float32 [N, D]: residue features that the user brings; None: there are none."""
    embedding: Tensor | None = None
    """float32 [N, D]: features of the residues that a frozen encoder has computed before; None: there are none."""
    fold: Tensor | None = None
    """float32 [B, F]: fold geometry of the chains, see `fold_geometry`; None: it was not asked for."""
    surroundings: Tensor | None = None
    """float32 [N, S]: surroundings of the residues, see `geometry.surroundings`; None: they were not asked for."""

    def __len__(self) -> int:
        return len(self.ids)

    def inputs(self) -> dict[str, Any]:
        """Returns the arguments of a network's `forward`, by name."""
        optional = {
            "features": self.features,
            "embedding": self.embedding,
            "fold": self.fold,
            "surroundings": self.surroundings,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return {"coords": self.coords, "ptr": self.ptr, "sequence": self.sequence, "share": self.share, **given}

    def to(self, device: Any, non_blocking: bool = True) -> "ChainBatch":
        """Returns the batch on another device."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "ChainBatch":
        """Returns the batch in page-locked memory, which a GPU can copy while it computes."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "ChainBatch":
        changed: dict[str, Any] = {
            name: function(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        changed["labels"] = {name: function(label) for name, label in self.labels.items()}
        return replace(self, **changed)


def collate(
    chains: Sequence[Backbone],
    labels: Mapping[str, Tensor] | None = None,
    index: Sequence[int] | None = None,
    share: ChainShare | None = None,
    features: Iterable[np.ndarray] | None = None,
) -> ChainBatch:
    """Joins chains into a flat batch.

    Arguments:
        chains: B chains, at least one.
        labels: the labels to learn by name, see `ChainBatch.labels`; None if they are unknown.
        index: B rows of the chains in their data set; None takes 0 to B - 1.
        share: the place of these chains in the batch of all devices; None: there is one device.
        features: residue features of each chain, float32 [L, D]; None if there are none.

    Example:

    >>> def chain(name, length):
    ...     return Backbone(name, np.zeros((length, 4, 3), np.float32), np.zeros(length, np.uint8))
    >>> collate([chain("short", 2), chain("long", 5)]).ptr
    tensor([0, 2, 7])
    """
    lengths = np.array([len(c) for c in chains])
    sequence = np.concatenate([c.sequence for c in chains]).astype(np.int64)
    rows = range(len(chains)) if index is None else index
    return ChainBatch(
        coords=torch.from_numpy(np.concatenate([c.coords for c in chains])),
        sequence=torch.from_numpy(sequence),
        ptr=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])),
        labels=dict(labels or {}),
        index=torch.as_tensor(rows, dtype=torch.int64),
        ids=tuple(c.id for c in chains),
        share=share,
        features=None if features is None else torch.from_numpy(np.concatenate(list(features))),
    )


def is_labelled(label: Tensor) -> Tensor:
    """Marks the chains that have a label, bool [B]; see `ChainBatch.labels`.

    >>> is_labelled(torch.tensor([2, -1])).tolist(), is_labelled(torch.tensor([[1.0, 0.0], [torch.nan] * 2])).tolist()
    ([True, False], [True, False])
    """
    return label >= 0 if label.ndim == 1 else ~label.isnan().any(1)
