"""The part of an answer that is read from the fold geometry of the whole chain."""

import torch
from torch import Tensor, nn

from partoken.protein.geometry.fold import FOLD_WIDTH
from partoken.system.distributed import Dropout, Rows

__all__ = ["FoldBranch"]

_CLIP = 4.0
"""Standard deviations from the mean beyond which a number counts as this far."""
_DROP_INPUT, _DROP_HIDDEN = 0.15, 0.3
_WIDTHS = (128, 192)


class FoldBranch(nn.Module):
    """Creates a small network from the fold geometry of a chain to scores that are added to those of the classes.

    The numbers are standardised by the training chains, see `set_scale`. Dropout is strong, because there are many
    numbers and few chains.

    Arguments:
        num_classes: Number of classes C.
    """

    mean: Tensor
    scale: Tensor
    measured: Tensor

    def __init__(self, num_classes: int):
        super().__init__()
        first, second = _WIDTHS
        self.register_buffer("mean", torch.zeros(FOLD_WIDTH))
        self.register_buffer("scale", torch.ones(FOLD_WIDTH))
        self.register_buffer("measured", torch.tensor(False))
        self.layers = nn.ModuleList([nn.Linear(FOLD_WIDTH, first), nn.Linear(first, second)])
        self.norms = nn.ModuleList([nn.LayerNorm(first), nn.LayerNorm(second)])
        self.activation = nn.GELU()
        self.drops = nn.ModuleList([Dropout(_DROP_INPUT), Dropout(_DROP_HIDDEN), Dropout(_DROP_HIDDEN)])
        self.classify = nn.Linear(second, num_classes, bias=False)

    @torch.no_grad()
    def set_scale(self, numbers: Tensor) -> None:
        """Measures mean and deviation on the fold geometry of training chains, `[n, FOLD_WIDTH]`.

        A number that is equal for all of them is ignored from then on. `measured` is true afterwards.
        """
        deviation, mean = torch.std_mean(numbers.double(), dim=0, correction=0)
        scale = torch.where(deviation > 1e-6, 1 / deviation, 0.0)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        self.measured.fill_(True)

    def forward(self, fold: Tensor, rows: Rows | None = None) -> Tensor:
        """Computes scores to add to those of the classes, `[B, C]` float32 or wider.

        Arguments:
            fold: Fold geometry of the chains, `[B, FOLD_WIDTH]`.
            rows: The place of the chains in the batch of all devices; None: there is one device.
        """
        x = ((fold.to(self.mean.dtype) - self.mean) * self.scale).clamp(-_CLIP, _CLIP)
        x = self.drops[0](x, rows)
        for layer, norm, drop in zip(self.layers, self.norms, self.drops[1:], strict=True):
            x = drop(norm(self.activation(layer(x))), rows)
        logits = self.classify(x)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))
