"""A light discriminator that judges patches."""

import torch
from torch import Tensor, nn

from partoken.satellite.model.unet import ChannelNorm

__all__ = ["PatchDiscriminator"]


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of 34 x 34 pixels, given the radar: high for real optical images, low for made ones.

    References:
        Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017),
        https://arxiv.org/abs/1611.07004

    Arguments:
        channels: of the first layer; the second and third have twice and four times as many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(6, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            ChannelNorm(2 * channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 4 * channels, 4, stride=1, padding=1),
            ChannelNorm(4 * channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * channels, 1, 4, stride=1, padding=1),
        )

    def forward(self, optical: Tensor, radar: Tensor, mask: Tensor) -> Tensor:
        """Returns scores `[B, 1, h, w]`, with h and w about a quarter of height and width.

        Arguments:
            optical: standardised bands, `[B, 4, H, W]`.
            radar: standardised VV and VH, `[B, 2, H, W]`.
            mask: True where both are valid, `[B, H, W]`; other pixels count as 0, so that they tell nothing.
        """
        scores: Tensor = self.layers(torch.cat([optical, radar], 1) * mask.unsqueeze(1))
        return scores
