"""The codebook: a vocabulary of substructures, learned by moving averages.

References:
    Neural Discrete Representation Learning (van den Oord et al., NeurIPS 2017, arXiv 1711.00937), appendix A.1.
    Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi et al., NeurIPS 2019, arXiv 1906.00446).
"""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.system.distributed import gather_rows, gathered, num_processes, process_number, total

__all__ = ["Codebook", "Quantized"]

_DEAD = 0.03
"""A code is dead if its use falls below this fraction of the average use."""
_MOMENTUM = 0.1
"""Fraction of a batch's mean and variance that enters their running averages in a step."""


@dataclass(frozen=True)
class Quantized:
    """The result of quantising up to K substructures of each of B chains."""

    vectors: Tensor
    """Code nearest to each substructure, `[B, K, dim]`; the gradient passes straight through to the input."""
    standardised: Tensor
    """The substructures' own vectors after standardising, as compared with the codes, `[B, K, dim]`."""
    codes: Tensor
    """Number of the nearest code, `[B, K]` int64, -1 where there is no substructure."""
    commitment: Tensor
    """Mean squared distance to the codes, which are constants here: a scalar."""
    entropy: Tensor
    """Distance of the mean use of the codes from uniform use, in nats, from 0 to log(size): a scalar."""
    coverage: Tensor
    """Fraction of a chain's substructures that repeat codes of the others, from 0 to 1: a scalar. See `Codebook`."""


class Codebook(nn.Module):
    r"""Creates a codebook whose codes are moving averages of the vectors that chose them.

    Two terms use the soft assignment of each substructure $z_k$ to the codes $e_c$ at temperature T,

    $$ q_{kc} = \mathrm{softmax}_c ( - |z_k - e_c|^2 / (2 T s^2 \sqrt{dim}) ) $$

    where s is the standard deviation of the codes. Neither term depends on the scale of the codes.

    - *Entropy* is $\log C + \sum_c \bar q_c \log \bar q_c$, where $\bar q$ is the mean of q over substructures.
    - *Coverage* is $1 - \frac1K \sum_c [1 - \prod_k (1 - q_{kc})]$, a probabilistic set cover. It is near 0 if each
      of a chain's K substructures has a code of its own, and near 1 - 1/K if all have the same code.

    Substructure features are much alike: their common part is larger than their differences. The codebook therefore
    first brings each channel to mean 0 and variance 1. While the codes learn, it uses the moments of the batch, and the
    gradient flows through them, so that the commitment cannot shrink the features. In evaluation, and while `frozen` is
    true, it uses running averages, and the code of a vector does not depend on its batch. `ParToken.calibrate`
    measures these averages again.

    A code is dead if its use falls below 3 % of the average; a random vector of the batch replaces it. If `frozen` is
    true, codes and running averages do not change.

    On several devices the batch is that of all devices: moments, codes and losses are those of one device with the
    whole batch. The mean of a loss over the devices is the loss of the whole batch. Codes are equal on every process.

    The `VectorQuantize` of vector-quantize-pytorch is not used: it waits for the device at each step, and a batch
    without substructures gives it a loss of NaN and changes its codes. `benchmarks/codebook.py` compares both.

    See also:
        `partoken.protein.model.settings.NetworkSettings`, whose `codebook_*` keys set the arguments.

    Arguments:
        size: Number of codes C.
        dim: Channels of a code.
        decay: Fraction of the moving averages that a step keeps.
        distance: `"l2"`, or `"cosine"`: vectors and codes then have length sqrt(dim).
        temperature: Temperature T of the soft assignment.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> codebook = Codebook(size=16, dim=4)
        >>> quantized = codebook(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
        >>> quantized.vectors.shape, quantized.codes.shape
        (torch.Size([2, 3, 4]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        decay: float = 0.99,
        distance: str = "l2",
        temperature: float = 0.3,
    ):
        super().__init__()
        self.decay = decay
        self.distance = distance
        self.temperature = temperature
        self.frozen = False
        self.register_buffer("codes", self._rescale(torch.randn(size, dim)))
        self.register_buffer("usage", torch.ones(size))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("updates", torch.tensor(0))
        self.register_buffer("started", torch.tensor(False))
        # A copy on the host: the buffer is read from the device only until it is true.
        self._known_started = False

    def forward(self, z: Tensor, mask: Tensor) -> Quantized:
        """Quantises vectors `[B, K, dim]` where `mask` `[B, K]` bool is true, always in full precision."""
        with torch.autocast(z.device.type, enabled=False):
            raw = z.to(self.codes.dtype)
            learning = self.training and not self.frozen
            if learning and not self._is_started():
                self.start(gather_rows(raw.detach()[mask]))
            counts = gathered(torch.stack([mask.sum(), mask.any(1).sum()]))
            num, filled = counts.sum(0)
            moments = self._batch_moments(raw, mask, num) if learning else self._running_moments()
            z = self._standardise(raw, moments)
            # The update below changes the codes in place, and the backward pass needs their present values.
            book = self.codes.clone()
            square = _square_distance(z, book)
            codes = square.detach().argmin(-1)
            chosen = F.embedding(codes, book)
            weight = mask[..., None].to(z.dtype)
            commitment = ((z - chosen).square() * weight).sum() / (num.clamp(min=1) * z.shape[-1])
            spread = book.var(0, unbiased=False).mean().clamp(min=1e-12)
            entropy, coverage = self._usage_losses(square / spread, mask, num, filled)
            if learning:
                flat = [part.detach().flatten(0, 1) for part in (z, codes, mask)]
                self._update(moments.detach(), flat[0], flat[1], flat[2], counts[:, 0])
            return Quantized(
                vectors=(z + (chosen - z).detach()) * weight,
                standardised=z * weight,
                codes=codes.masked_fill(~mask, -1),
                commitment=commitment * num_processes(),
                entropy=entropy,
                coverage=coverage * num_processes(),
            )

    def bypass(self, z: Tensor, mask: Tensor) -> Quantized:
        """Standardises vectors as `forward` does, without a code; codes neither move nor are read.

        Arguments:
            z: Vectors, `[B, K, dim]`.
            mask: True where there is a vector, `[B, K]` bool.

        Returns:
            The standardised vectors in place of the codes' vectors, -1 for each code, and 0 for each loss.
        """
        with torch.autocast(z.device.type, enabled=False):
            raw = z.to(self.codes.dtype)
            learning = self.training and not self.frozen
            moments = self._running_moments()
            if learning:
                moments = self._batch_moments(raw, mask, total(mask.sum()))
                self._move_averages(moments.detach())
            z = self._standardise(raw, moments) * mask[..., None].to(raw.dtype)
            zero = z.sum() * 0
            return Quantized(
                vectors=z,
                standardised=z,
                codes=torch.full_like(mask, -1, dtype=torch.long),
                commitment=zero,
                entropy=zero,
                coverage=zero,
            )

    @torch.no_grad()
    def start(self, z: Tensor, iterations: int = 10) -> None:
        """Places the codes by k-means, equal on every process; no vectors leave them as they are.

        Arguments:
            z: The same vectors `[M, dim]` on every process. If M < size, each code that is left over lies close to a
                drawn vector.
            iterations: Steps of k-means.
        """
        if len(z):
            self._run_kmeans(z, iterations)
        if num_processes() > 1:
            for part in (self.codes, self.usage, self.mean, self.variance, self.started):
                dist.broadcast(part, 0)

    def _run_kmeans(self, z: Tensor, iterations: int) -> None:
        z = z.to(self.codes.dtype)
        self.mean.copy_(z.mean(0))
        self.variance.copy_(z.var(0, unbiased=False))
        z = self._standardise(z, self._running_moments())
        codes = self._draw_starts(z)
        size = len(codes)
        for _ in range(iterations):
            nearest = torch.cdist(z, codes).argmin(-1)
            count = z.new_zeros(size).index_add_(0, nearest, z.new_ones(len(z)))
            total = torch.zeros_like(codes).index_add_(0, nearest, z)
            means = self._rescale(total / count.clamp(min=1)[:, None])
            codes = torch.where(count[:, None] > 0, means, codes)
        self.codes.copy_(codes)
        self.usage.fill_(1.0)
        self.started.fill_(True)

    def _draw_starts(self, z: Tensor) -> Tensor:
        """Draws `[size, dim]` of the vectors `[M, dim]`; with small noise where a vector is drawn again."""
        size, dim = self.codes.shape
        pick = torch.randperm(len(z), device=z.device)[:size]
        if len(pick) < size:
            again = torch.randint(len(z), (size - len(pick),), device=z.device)
            pick = torch.cat([pick, again])
        spread = z.std(0, unbiased=False) * 0.01
        jitter = torch.randn(size, dim, device=z.device) * spread
        jitter[: min(len(z), size)] = 0
        return self._rescale(z[pick] + jitter)

    @torch.no_grad()
    def calibrate(self, mean: Tensor, variance: Tensor) -> None:
        """Sets the running averages to a measured mean and variance `[dim]`, unless `frozen` is true."""
        if not self.frozen:
            self.mean.copy_(mean)
            self.variance.copy_(variance)

    def _is_started(self) -> bool:
        self._known_started = self._known_started or bool(self.started)
        return self._known_started

    def _usage_losses(self, square: Tensor, mask: Tensor, num: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the entropy over all processes, and this process's part of the coverage.

        Arguments:
            square: Squared distances per channel in units of the codes' variance, `[B, K, C]`.
            mask: True where there is a substructure, `[B, K]` bool.
            num: Substructures of all processes, a scalar.
            filled: Chains of all processes that have one, a scalar.
        """
        weight = mask[..., None].to(square.dtype)
        sharpness = self.codes.shape[1] ** 0.5 / (2 * self.temperature)
        soft = (-square * sharpness).softmax(-1) * weight
        mean = total(soft.sum((0, 1))) / num.clamp(min=1)
        negative_entropy = (mean * mean.clamp(min=1e-12).log()).sum()
        entropy = negative_entropy + (num > 0) * math.log(len(self.codes))
        # The product over substructures as a sum of logarithms.
        log_unused = torch.log1p(-soft.clamp(max=1 - 1e-6)).sum(1)
        covered = -torch.expm1(log_unused).sum(-1)
        count = mask.sum(1)
        missing = (1 - covered / count.clamp(min=1)) * (count > 0)
        return entropy, missing.sum() / filled.clamp(min=1)

    @torch.no_grad()
    def _update(self, moments: Tensor, z: Tensor, codes: Tensor, mask: Tensor, nums: Tensor) -> None:
        """Moves running averages and codes by one step, with the sums of all processes.

        Arguments:
            moments: Mean and variance of the batch, `[2, dim]`.
            z: Standardised vectors, `[M, dim]`.
            codes: The nearest code of each, `[M]`.
            mask: True where there is a vector, `[M]` bool.
            nums: Vectors of each process, `[W]` int64.
        """
        weight = mask[:, None].to(z.dtype)
        count = torch.zeros_like(self.usage).index_add_(0, codes, weight[:, 0])
        sums = torch.zeros_like(self.codes).index_add_(0, codes, z * weight)
        replacement = self._draw_replacements(z, mask, nums)
        if num_processes() > 1:
            parts = total(torch.cat([count[:, None], sums, replacement], dim=1))
            count, sums, replacement = parts[:, 0], *parts[:, 1:].chunk(2, dim=1)
        self._move_averages(moments)
        self._move_codes(count, sums, replacement)
        self.updates += 1

    @torch.no_grad()
    def _move_averages(self, moments: Tensor) -> None:
        self.mean.lerp_(moments[0], _MOMENTUM)
        self.variance.lerp_(moments[1], _MOMENTUM)

    def _move_codes(self, count: Tensor, sums: Tensor, replacement: Tensor) -> None:
        """Averages each code with its vectors, and replaces dead codes.

        Arguments:
            count: Vectors that chose each code, `[C]`.
            sums: Sum of these vectors, `[C, dim]`.
            replacement: New value of each code if it is dead, `[C, dim]`.
        """
        any_vectors = count.sum() > 0
        # The averages are short at first, while vectors move fast. A batch without vectors changes nothing.
        rate = (9 / (10 + self.updates)).clamp(min=1 - self.decay) * any_vectors
        # The average is stored as code and weight, not as sum and weight: an unused code keeps its place.
        usage = torch.lerp(self.usage, count, rate)
        step = (rate * count / usage.clamp(min=1e-12)).clamp(max=1)
        means = sums / count.clamp(min=1)[:, None]
        moved = self._rescale(torch.lerp(self.codes, means, step[:, None]))
        average = usage.mean()
        dead = (usage < _DEAD * average) & any_vectors
        self.codes.copy_(torch.where(dead[:, None], replacement, moved))
        self.usage.copy_(torch.where(dead, average, usage))

    def _draw_replacements(self, z: Tensor, mask: Tensor, nums: Tensor) -> Tensor:
        """Draws a masked vector for each code, `[C, dim]`, without waiting for the device to count them.

        The vectors of all processes, `nums` of each, are numbered in the order of the processes, and every process
        draws the same numbers. Where a vector is of another process, the result is zero.
        """
        order = mask.int().argsort(descending=True, stable=True)
        num, own = nums.sum(), process_number()
        place = (torch.rand(len(self.codes), device=z.device) * num).long()
        place = torch.minimum(place, num - 1) - nums[:own].sum()  # rounding may reach `num`
        drawn = z[order[place.clamp(0, len(z) - 1)]]
        return torch.where(((place >= 0) & (place < nums[own]))[:, None], drawn, 0)

    def _batch_moments(self, raw: Tensor, mask: Tensor, num: Tensor) -> Tensor:
        """Computes mean and variance of the `num` masked vectors of all processes, `[2, dim]`.

        Of fewer than two it returns the running averages.
        """
        weight = mask[..., None].to(raw.dtype)
        mean = total((raw * weight).sum((0, 1))) / num.clamp(min=1)
        variance = total(((raw - mean).square() * weight).sum((0, 1))) / num.clamp(min=1)
        return torch.where(num > 1, torch.stack([mean, variance]), self._running_moments())

    def _running_moments(self) -> Tensor:
        return torch.stack([self.mean, self.variance])

    def _standardise(self, z: Tensor, moments: Tensor) -> Tensor:
        mean, variance = moments
        # A channel that hardly varies stays small instead of being amplified.
        variance = torch.maximum(variance, 1e-2 * variance.mean() + 1e-12)
        return self._rescale((z - mean) * variance.rsqrt())

    def _rescale(self, z: Tensor) -> Tensor:
        """Brings vectors to length sqrt(dim) if the distance is cosine."""
        if self.distance != "cosine":
            return z
        return F.normalize(z, dim=-1) * z.shape[-1] ** 0.5


def _square_distance(z: Tensor, book: Tensor) -> Tensor:
    """Computes the squared distance per channel, `[..., C]`, of vectors `[..., dim]` to all codes `[C, dim]`."""
    square = z.square().sum(-1, keepdim=True) - 2 * z @ book.T + book.square().sum(-1)
    return square.clamp(min=0) / z.shape[-1]
