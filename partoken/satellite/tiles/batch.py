"""Batches of tiles as the networks take them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["TileBatch"]


@dataclass(frozen=True, eq=False)
class TileBatch:
    """B tiles of one size."""

    s1: Tensor
    """float32 [B, 2, H, W]: radar VV and VH in dB, 0 where missing."""
    s1_mask: Tensor
    """bool [B, H, W]: True where both radar bands are valid."""
    s2: Tensor
    """float32 [B, 4, H, W]: reflectance of b2, b3, b4 and b8, 0 where missing."""
    s2_mask: Tensor
    """bool [B, H, W]: True where all optical bands are valid."""
    month: Tensor
    """int64 [B]: 1 to 12, 0 if unknown."""
    biome: Tensor
    """int64 [B]: 0 to 15, -1 if unknown."""
    ids: tuple[str, ...]
    """B names of tiles."""
    scenes: tuple[str, ...]
    """B names of scenes."""

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: Any, non_blocking: bool = True) -> "TileBatch":
        """Returns the batch on another device."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "TileBatch":
        """Returns the batch in page-locked memory, which a GPU can copy while it computes."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "TileBatch":
        tensors = (self.s1, self.s1_mask, self.s2, self.s2_mask, self.month, self.biome)
        return TileBatch(*map(function, tensors), self.ids, self.scenes)
