"""Stage 2: corrects the output of stage 1, knowing the radar and, where given, month and biome."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from partoken.satellite.model.settings import RefinerSettings
from partoken.satellite.model.translator import Translator, full_precision, positive
from partoken.satellite.model.unet import Block, ChannelNorm, pad_to_multiple

__all__ = ["Condition", "Refiner", "TwoStages", "month_waves"]

NUM_BIOMES = 16
STRIDE = 2
"""The refiner works at half the resolution and adds its correction at the full one."""


class Condition(nn.Module):
    """Describes month and biome in one vector; an unknown one adds nothing to it.

    Arguments:
        size: of the vector.
        use_month: False: the month is ignored.
        use_biome: False: the biome is ignored.
    """

    def __init__(self, size: int, *, use_month: bool, use_biome: bool) -> None:
        super().__init__()
        self.size = size
        self.month = nn.Linear(4, size) if use_month else None
        self.biome = nn.Embedding(NUM_BIOMES, size) if use_biome else None

    def forward(self, month: Tensor, biome: Tensor) -> Tensor:
        """Returns vectors `[B, size]`.

        Arguments:
            month: `[B]` int64, 1 to 12, 0 if unknown.
            biome: `[B]` int64, 0 to 15, -1 if unknown.
        """
        vector = torch.zeros(len(month), self.size, device=month.device)
        if self.month is not None:
            vector = vector + self.month(month_waves(month)) * (month > 0).unsqueeze(1)
        if self.biome is not None:
            vector = vector + self.biome(biome.clamp(min=0)) * (biome >= 0).unsqueeze(1)
        return vector


class Refiner(nn.Module):
    """Conditioned ConvNeXt blocks whose output is added to that of stage 1; an untrained refiner changes nothing.

    Arguments:
        settings: of the network.
        data: `DataModule.settings()`: means and standard deviations of all bands.
    """

    s1_mean: Tensor
    s1_std: Tensor
    s2_mean: Tensor
    s2_std: Tensor

    def __init__(self, settings: RefinerSettings, data: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        for name in ("s1_mean", "s1_std", "s2_mean", "s2_std"):
            values = torch.tensor(data[name], dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        width, size = settings.refiner_channels, settings.condition_size
        self.condition = Condition(size, use_month=settings.use_month, use_biome=settings.use_biome)
        self.stem = nn.Conv2d(7, width, STRIDE, stride=STRIDE)
        self.blocks = nn.ModuleList(
            Block(width, drop_rate=settings.drop_rate, condition_size=size) for _ in range(settings.refiner_blocks)
        )
        self.norm = ChannelNorm(width)
        self.head = nn.Conv2d(width, 4 * STRIDE**2, 1)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, first: Tensor, s1: Tensor, s1_mask: Tensor, month: Tensor, biome: Tensor) -> Tensor:
        """Refines B images of any size.

        Arguments:
            first: reflectance from stage 1, `[B, 4, H, W]`, 0 or more.
            s1: VV and VH in dB, `[B, 2, H, W]`; missing pixels may have any value.
            s1_mask: True where both are valid, `[B, H, W]`.
            month: `[B]` int64, 1 to 12, 0 if unknown.
            biome: `[B]` int64, 0 to 15, -1 if unknown.

        Returns:
            Reflectance, `[B, 4, H, W]` float32, 0 or more.
        """
        height, width = first.shape[2:]
        known = s1_mask.unsqueeze(1)
        radar = (torch.where(known, s1, self.s1_mean) - self.s1_mean) / self.s1_std
        inputs = torch.cat([(first - self.s2_mean) / self.s2_std, radar, known.to(radar.dtype)], 1)
        condition = self.condition(month, biome)
        x = self.stem(pad_to_multiple(inputs, STRIDE))
        for block in self.blocks:
            if self.settings.checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(block, x, condition, use_reentrant=False)
            else:
                x = block(x, condition)
        correction = full_precision(nn.functional.pixel_shuffle(self.head(self.norm(x)), STRIDE))
        return positive(first + self.s2_std * correction[..., :height, :width])


class TwoStages(nn.Module):
    """Both stages as one network from radar to refined reflectance.

    Arguments:
        translator: stage 1, which does not learn.
        refiner: stage 2.
    """

    def __init__(self, translator: Translator, refiner: Refiner) -> None:
        super().__init__()
        self.translator = translator.requires_grad_(False).train()
        self.refiner = refiner

    def forward(
        self, s1: Tensor, s1_mask: Tensor, month: Tensor, biome: Tensor, first: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the reflectance of stage 1 and of stage 2, `[B, 4, H, W]` each.

        Arguments: as for `Refiner`; without `first`, stage 1 computes it.
        """
        if first is None:
            self.translator.eval()  # only here: Lightning warns if a training starts with networks in this mode
            with torch.no_grad():
                first = self.translator(s1, s1_mask)
        return first, self.refiner(first, s1, s1_mask, month, biome)


def month_waves(month: Tensor) -> Tensor:
    """Returns sine and cosine of the year and the half-year, `[B, 4]`: December is as near to January as to November.

    >>> waves = month_waves(torch.tensor([12, 1, 2]))
    >>> torch.allclose((waves[0] - waves[1]).norm(), (waves[2] - waves[1]).norm())
    True
    """
    turn = month.unsqueeze(1) * (2 * math.pi / 12) * torch.tensor([1.0, 2.0], device=month.device)
    return torch.cat([turn.sin(), turn.cos()], 1)
