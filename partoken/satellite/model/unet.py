"""A compact U-Net of ConvNeXt blocks."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from partoken.system.distributed import Dropout

__all__ = ["Block", "ChannelNorm", "UNet", "pad_to_multiple"]

EXPANSION = 3
"""Hidden channels of a block's MLP, as a multiple of its channels."""


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel, `[B, C, H, W]`.

    Statistics of a pixel do not depend on the rest of the image, so neither do predictions in windows.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    """ConvNeXt block: depthwise convolution, norm, MLP on each pixel, and a residual connection.

    With `condition_size`, a vector scales and shifts the normalised channels; it starts without effect.

    References:
        A ConvNet for the 2020s (Liu et al., 2022), https://arxiv.org/abs/2201.03545

    Arguments:
        channels: of input and output.
        drop_rate: dropout rate of the hidden channels, whole channels at a time.
        condition_size: length of the condition vector; 0: there is none.
    """

    def __init__(self, channels: int, *, drop_rate: float = 0.0, condition_size: int = 0) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, EXPANSION * channels)
        self.drop = Dropout(drop_rate)
        self.reduce = nn.Linear(EXPANSION * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))
        self.modulate = nn.Linear(condition_size, 2 * channels) if condition_size else None
        if self.modulate is not None:
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Transforms features.

        Arguments:
            x: `[B, channels, H, W]`.
            condition: `[B, condition_size]`, given if and only if the block has one.
        """
        hidden = self.norm(self.spatial(x).movedim(1, -1))
        if self.modulate is not None:
            assert condition is not None
            gain, shift = self.modulate(condition)[:, None, None].chunk(2, -1)
            hidden = hidden * (1 + gain) + shift
        hidden = self.reduce(self.drop(F.gelu(self.expand(hidden))))
        output: Tensor = x + (self.scale * hidden).movedim(-1, 1)
        return output


class UNet(nn.Module):
    """Encoder and decoder of ConvNeXt blocks with skip connections, for images of any size.

    Arguments:
        in_channels: channels of the input.
        out_channels: channels of the output, which starts at zero.
        channels: channels of each level, from the full resolution to the lowest; each level halves height and width.
        depths: blocks of each level in the encoder; the decoder has one block per level.
        drop_rate: dropout rate in the blocks.
        checkpoint_activations: compute activations again in the backward pass instead of storing them.

    Example:
        >>> UNet(3, 4, channels=(8, 16), depths=(1, 1))(torch.zeros(1, 3, 21, 30)).shape
        torch.Size([1, 4, 21, 30])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int],
        depths: Sequence[int],
        drop_rate: float = 0.0,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoint_activations = checkpoint_activations
        self.multiple = 2 ** (len(channels) - 1)
        self.stem = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        pairs = list(pairwise(channels))

        def blocks(width: int, depth: int) -> nn.ModuleList:
            return nn.ModuleList(Block(width, drop_rate=drop_rate) for _ in range(depth))

        self.encoder = nn.ModuleList(map(blocks, channels, depths))
        self.down = nn.ModuleList(
            nn.Sequential(ChannelNorm(fine), nn.Conv2d(fine, coarse, 2, stride=2)) for fine, coarse in pairs
        )
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs)
        self.join = nn.ModuleList(nn.Conv2d(2 * fine, fine, 1) for fine, _ in pairs)
        self.decoder = nn.ModuleList(blocks(fine, 1) for fine, _ in pairs)
        self.head = nn.Sequential(ChannelNorm(channels[0]), nn.Conv2d(channels[0], out_channels, 1))
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transforms an image `[B, in_channels, H, W]` to `[B, out_channels, H, W]`."""
        height, width = x.shape[2:]
        x = self.stem(pad_to_multiple(x, self.multiple))
        skips = []
        for level, blocks in enumerate(self.encoder):
            if level:
                x = self.down[level - 1](x)
            x = self._run(blocks, x)
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = F.interpolate(self.up[level](x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.join[level](torch.cat([x, skips[level]], 1))
            x = self._run(self.decoder[level], x)
        output: Tensor = self.head(x)
        return output[..., :height, :width]

    def _run(self, blocks: Any, x: Tensor) -> Tensor:
        for block in blocks:
            if self.checkpoint_activations and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeats the last row and column until height and width are multiples of a number."""
    height, width = x.shape[-2:]
    if height % multiple == 0 and width % multiple == 0:
        return x
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
