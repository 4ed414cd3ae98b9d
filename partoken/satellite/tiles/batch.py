"""Batches of tiles as the networks take them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from partoken.satellite.tiles.tile import COUNTS, MISSING, RADAR_STEP, Tile
from partoken.system.distributed import Rows

__all__ = ["TileBatch", "collate", "radar_of_packed"]


@dataclass(eq=False)  # not frozen: Lightning sets the tensors of a copy if trainer.precision=64-true
class TileBatch:
    """B tiles of one size.

    Lightning moves a batch to the device with `to`; PyTorch's data loaders pin it with `pin_memory`.
    """

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
    stage1: Tensor | None = None
    """float32 [B, 4, H, W]: stored reflectance of stage 1; None: not stored."""
    share: Rows | None = None
    """The place of these tiles in the batch of all devices; None: there is one device."""

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: Any, non_blocking: bool = True) -> "TileBatch":
        """Returns the batch on another device."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "TileBatch":
        """Returns the batch in page-locked memory, which a GPU can copy while it computes."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "TileBatch":
        changed: dict[str, Any] = {
            name: function(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **changed)


def collate(tiles: Sequence[Tile], share: Rows | None = None) -> TileBatch:
    """Joins tiles of one size into a batch, in dB and reflectance.

    Arguments:
        tiles: B tiles, at least one.
        share: the place of these tiles in the batch of all devices; None: there is one device.
    """
    s1, s1_mask = radar_of_packed(np.stack([tile.s1 for tile in tiles]))
    s2, s2_mask = _unpack(np.stack([tile.s2 for tile in tiles]), 1 / COUNTS)
    stored = [tile.stage1 for tile in tiles if tile.stage1 is not None]
    return TileBatch(
        s1=s1,
        s1_mask=s1_mask,
        s2=s2,
        s2_mask=s2_mask,
        month=torch.tensor([tile.info.month for tile in tiles], dtype=torch.int64),
        biome=torch.tensor([tile.info.biome for tile in tiles], dtype=torch.int64),
        ids=tuple(tile.info.id for tile in tiles),
        scenes=tuple(tile.info.scene for tile in tiles),
        stage1=_unpack(np.stack(stored), 1 / COUNTS)[0] if stored else None,
        share=share,
    )


def radar_of_packed(s1: np.ndarray) -> tuple[Tensor, Tensor]:
    """Unpacks radar.

    Arguments:
        s1: int16 [B, 2, H, W], as in `Tile`.

    Returns:
        dB, float32 [B, 2, H, W], 0 where missing; and the mask of valid pixels, bool [B, H, W].
    """
    return _unpack(s1, RADAR_STEP)


def _unpack(bands: np.ndarray, step: float) -> tuple[Tensor, Tensor]:
    packed = torch.from_numpy(bands)
    valid = packed[:, 0] != MISSING
    # In float64, so that a count of 1234 is exactly the float32 nearest to 0.1234.
    values = (packed.double() * step).float()
    return values * valid[:, None], valid
