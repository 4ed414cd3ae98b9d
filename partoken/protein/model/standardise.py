"""Brings the channels of a feature of chains to mean 0 and variance 1."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.system.distributed import num_processes, total

__all__ = ["Standardise"]


class Standardise(nn.Module):
    """Creates a batch norm without weights: each channel has mean 0 and variance 1 over chains.

    The common part of the chains is much larger than their differences. Without this layer the network first learns the
    class frequencies through the common part, which grows until it outweighs everything else in a residue's features.

    In training, the moments are those of the batch, over all devices. A batch with a single chain moves the running
    averages and is standardised by them. In evaluation, and while `frozen` is true, the moments are the running
    averages. `ParToken.calibrate` measures these averages again. If `frozen` is true, they do not change.

    Arguments:
        dim: Channels.

    Example:
        >>> standardise = Standardise(4)
        >>> standardise(torch.randn(100, 4)).std(0, unbiased=False).allclose(torch.ones(4), atol=1e-3)
        True
    """

    eps = 1e-5
    momentum = 0.1
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.frozen = False
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Standardises summaries `[B, dim]`; in evaluation the result of a chain does not depend on its batch."""
        if self.frozen or not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)
        if num_processes() > 1:
            return self._standardise_over_processes(x)
        if len(x) > 1:
            self.num_batches_tracked += 1
            averages = (self.running_mean, self.running_var)
            return F.batch_norm(x, *averages, training=True, momentum=self.momentum, eps=self.eps)
        with torch.no_grad():
            deviation = x[0] - self.running_mean
            self.running_var.lerp_(deviation.square(), self.momentum)
            self.running_mean.add_(self.momentum * deviation)
        return F.batch_norm(x, self.running_mean.clone(), self.running_var.clone(), eps=self.eps)

    def _standardise_over_processes(self, x: Tensor) -> Tensor:
        """Standardises by the moments of the chains of all processes; each has one chain or more."""
        sums = total(torch.cat([x.sum(0), x.new_full((1,), len(x))]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        variance = total((x - mean).square().sum(0)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return (x - mean) * (variance + self.eps).rsqrt()

    @torch.no_grad()
    def calibrate(self, mean: Tensor, variance: Tensor) -> None:
        """Sets the running averages to a measured mean and variance `[dim]`, unless `frozen` is true."""
        if not self.frozen:
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance)
