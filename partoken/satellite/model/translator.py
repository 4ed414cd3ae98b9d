"""Stage 1: radar to four optical bands."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from partoken.satellite.model.backbone import build_backbone
from partoken.satellite.model.lora import add_adapters, freeze_all_but_adapters
from partoken.satellite.model.settings import TranslatorSettings

__all__ = ["Translator", "full_precision", "positive"]


class Translator(nn.Module):
    """Translates radar into reflectance with a backbone.

    It fills missing radar before the backbone, and clips reflectance below 0 after it.

    Arguments:
        settings: of the network.
        data: `DataModule.settings()`: `s1_mean` fills missing radar; the U-Net needs more, see `UNetBackbone`.
        read_weights: False: the weights come from a checkpoint, so a backbone reads and downloads none.

    Raises:
        UserError: the backbone cannot be created, or adapters find no layer.
    """

    s1_mean: Tensor

    def __init__(self, settings: TranslatorSettings, data: Mapping[str, Any], *, read_weights: bool = True) -> None:
        super().__init__()
        self.settings = settings
        mean = torch.tensor(data["s1_mean"], dtype=torch.float32).view(1, 2, 1, 1)
        self.register_buffer("s1_mean", mean, persistent=False)
        self.backbone = build_backbone(settings, data, read_weights=read_weights)
        if settings.lora_rank:
            add_adapters(self.backbone, settings.lora_rank, settings.lora_targets)

    def forward(self, s1: Tensor, s1_mask: Tensor) -> Tensor:
        """Translates B images of any size.

        Arguments:
            s1: VV and VH in dB, `[B, 2, H, W]`; missing pixels may have any value.
            s1_mask: True where both are valid, `[B, H, W]`.

        Returns:
            Reflectance of b2, b3, b4 and b8, `[B, 4, H, W]` float32, 0 or more.
        """
        filled = torch.where(s1_mask.unsqueeze(1), s1, self.s1_mean)
        return positive(full_precision(self.backbone(filled, s1_mask)))

    def freeze_base(self) -> None:
        """Stops the gradients of all parameters but those of adapters, if there are any."""
        freeze_all_but_adapters(self.backbone)


def full_precision(x: Tensor) -> Tensor:
    """Returns half precision as float32, and float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def positive(x: Tensor) -> Tensor:
    """Returns max(x, 0), with the gradient of x everywhere, so that a pixel below zero still learns.

    >>> positive(torch.tensor([-1.0, 0.0, 0.5]))
    tensor([0.0000, 0.0000, 0.5000])
    """
    return x + (x.clamp(min=0) - x).detach()
