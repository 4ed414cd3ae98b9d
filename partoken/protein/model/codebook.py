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

__all__ = ["Codebook", "Quantized"]

_DEAD = 0.03
_MOMENTUM = 0.1


@dataclass(frozen=True)
class Quantized:
    """What a codebook made of B chains' substructures."""

    vectors: Tensor
    """The code nearest to each substructure, `[B, K, dim]`; the gradient passes straight through to the input."""
    compared: Tensor
    """What the codes were compared with, `[B, K, dim]`: the substructures' own vectors, standardised."""
    codes: Tensor
    """Number of that code, `[B, K]` int64, -1 where there is no substructure."""
    commitment: Tensor
    """Mean squared distance to the (constant) codes, a scalar."""
    entropy: Tensor
    """How far the mean use of the codes is from uniform, in nats, from 0 to log(size): a scalar."""
    coverage: Tensor
    """Share of a chain's substructures that say nothing new, from 0 to 1: a scalar. See `Codebook`."""


class Codebook(nn.Module):
    r"""Creates a codebook whose codes are moving averages of the vectors that chose them.

    Two terms look at the soft assignment of each substructure $z_k$ to the codes $e_c$ at temperature T,

    $$ q_{kc} = \mathrm{softmax}_c ( - |z_k - e_c|^2 / (2 T s^2 \sqrt{dim}) ) $$

    where s is the standard deviation of the codes, so that neither term depends on their scale. *Entropy* is
    $\log C + \sum_c \bar q_c \log \bar q_c$, with $\bar q$ their mean. *Coverage* measures how well a chain's K
    substructures cover the codes, as probabilistic set cover: $1 - \frac1K \sum_c [1 - \prod_k (1 - q_{kc})]$ is near 0
    when each stands for a code of its own, near 1 - 1/K when all say the same.

    The features of substructures are much alike: what they have in common outweighs what tells them apart. Vectors are
    therefore brought to mean 0 and variance 1 in each channel first. While the codes learn, mean and variance are those
    of the batch, and the gradient goes through them: no pull toward the codes can shrink what is standardised after.
    In evaluation and while `frozen` they are moving averages, and a vector's code does not depend on the others of its
    batch. `ParToken.calibrate` measures these averages anew.

    A code whose use falls under 3 % of the average is dead and is set on a vector of the batch. Codes are buffers, the
    same on every process, and stand still in evaluation and while `frozen`, as do the averages.

    A library was not used because no published one could do this without shrinking unused codes toward zero or waiting
    for the device at each step.

    Arguments:
        size: Number of codes C.
        dim: Channels of a code.
        decay: Share of the moving averages that a step keeps.
        distance: `"l2"`, or `"cosine"`, for which vectors and codes have length sqrt(dim).
        temperature: Temperature of the soft assignment.
    """

    def __init__(self, size: int, dim: int, *, decay: float = 0.99, distance: str = "l2", temperature: float = 0.3):
        super().__init__()
        self.decay = decay
        self.distance = distance
        self.temperature = temperature
        self.frozen = False
        self.register_buffer("codes", self._scaled(torch.randn(size, dim)))
        self.register_buffer("usage", torch.ones(size))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("updates", torch.tensor(0))
        self.register_buffer("started", torch.tensor(False))
        # The buffer is read from the device only until it is true once.
        self._known_started = False

    def forward(self, z: Tensor, mask: Tensor) -> Quantized:
        """Quantises vectors `[B, K, dim]` where `mask` `[B, K]` is true."""
        with torch.autocast(z.device.type, enabled=False):
            raw = z.to(self.codes.dtype)
            learning = self.training and not self.frozen
            if learning and not self._is_started():
                self._start(raw.detach()[mask])
            moments = self._moments(raw, mask) if learning else self._averages()
            z = self._standard(raw, moments)
            # The codes move in place before the backward pass needs those of now.
            book = self.codes.clone()
            square = _square_distance(z, book)
            codes = square.detach().argmin(-1)
            chosen = F.embedding(codes, book)
            weight = mask[..., None].to(z.dtype)
            num = mask.sum().clamp(min=1)
            commitment = ((z - chosen).square() * weight).sum() / (num * z.shape[-1])
            entropy, coverage = self._use(square / book.var(0, unbiased=False).mean().clamp(min=1e-12), mask)
            if learning:
                self._learn(moments.detach(), *(part.detach().flatten(0, 1) for part in (z, codes, mask)))
            return Quantized(
                vectors=(z + (chosen - z).detach()) * weight,
                compared=z * weight,
                codes=codes.masked_fill(~mask, -1),
                commitment=commitment,
                entropy=entropy,
                coverage=coverage,
            )

    @torch.no_grad()
    def start(self, z: Tensor, iterations: int = 10) -> None:
        """Places the codes by k-means on vectors `[M, dim]`; what M < size leaves over lies close to drawn vectors."""
        z = z.to(self.codes.dtype)
        self.mean.copy_(z.mean(0))
        self.variance.copy_(z.var(0, unbiased=False))
        z = self._standard(z, self._averages())
        size, dim = self.codes.shape
        pick = torch.randperm(len(z), device=z.device)[:size]
        if len(pick) < size:
            pick = torch.cat([pick, torch.randint(len(z), (size - len(pick),), device=z.device)])
        spread = z.std(0, unbiased=False) * 0.01
        jitter = torch.randn(size, dim, device=z.device) * spread
        jitter[: min(len(z), size)] = 0
        codes = self._scaled(z[pick] + jitter)
        for _ in range(iterations):
            nearest = torch.cdist(z, codes).argmin(-1)
            count = z.new_zeros(size).index_add_(0, nearest, z.new_ones(len(z)))
            total = torch.zeros_like(codes).index_add_(0, nearest, z)
            codes = torch.where(count[:, None] > 0, self._scaled(total / count.clamp(min=1)[:, None]), codes)
        self.codes.copy_(codes)
        self.usage.fill_(1.0)
        self.started.fill_(True)

    @torch.no_grad()
    def calibrate(self, mean: Tensor, variance: Tensor) -> None:
        """Sets the moving averages to moments `[dim]` that were measured; frozen, the codebook stays as it is."""
        if not self.frozen:
            self.mean.copy_(mean)
            self.variance.copy_(variance)

    def _is_started(self) -> bool:
        self._known_started = self._known_started or bool(self.started)
        return self._known_started

    def _start(self, z: Tensor) -> None:
        """Starts on the vectors of the first process, if it has any."""
        if len(z):
            self.start(z)
        if _num_processes() > 1:
            for part in (self.codes, self.usage, self.mean, self.variance, self.started):
                dist.broadcast(part, 0)

    def _use(self, square: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Computes entropy and coverage from squared distances per channel, in units of the codes' variance."""
        weight = mask[..., None].to(square.dtype)
        sharpness = self.codes.shape[1] ** 0.5 / (2 * self.temperature)
        soft = (-square * sharpness).softmax(-1) * weight
        mean = soft.sum((0, 1)) / mask.sum().clamp(min=1)
        entropy = (mean * mean.clamp(min=1e-12).log()).sum() + mask.any() * math.log(len(self.codes))
        covered = -torch.expm1(torch.log1p(-soft.clamp(max=1 - 1e-6)).sum(1)).sum(-1)
        count = mask.sum(1)
        missing = (1 - covered / count.clamp(min=1)) * (count > 0)
        return entropy, missing.sum() / (count > 0).sum().clamp(min=1)

    @torch.no_grad()
    def _learn(self, moments: Tensor, z: Tensor, codes: Tensor, mask: Tensor) -> None:
        weight = mask[:, None].to(z.dtype)
        count = torch.zeros_like(self.usage).index_add_(0, codes, weight[:, 0])
        total = torch.zeros_like(self.codes).index_add_(0, codes, z * weight)
        replacement = self._drawn(z, mask)
        if _num_processes() > 1:
            moments = moments / _num_processes()
            for part in (count, total, moments):
                dist.all_reduce(part)
            dist.broadcast(replacement, 0)
        number = count.sum()
        self.mean.lerp_(moments[0], _MOMENTUM)
        self.variance.lerp_(moments[1], _MOMENTUM)
        # These averages are short at first, while vectors still move fast, and wait where there are no vectors.
        rate = (9 / (10 + self.updates)).clamp(min=1 - self.decay) * (number > 0)
        # The average is held as code and weight, not as sum and weight: a code that nobody chose keeps its place.
        usage = torch.lerp(self.usage, count, rate)
        step = (rate * count / usage.clamp(min=1e-12)).clamp(max=1)
        moved = torch.lerp(self.codes, total / count.clamp(min=1)[:, None], step[:, None])
        average = usage.mean()
        dead = (usage < _DEAD * average) & (number > 0)
        self.codes.copy_(torch.where(dead[:, None], replacement, self._scaled(moved)))
        self.usage.copy_(torch.where(dead, average, usage))
        self.updates += 1

    def _drawn(self, z: Tensor, mask: Tensor) -> Tensor:
        """Draws a masked vector for each code, without waiting for the device to count them."""
        order = mask.int().argsort(descending=True, stable=True)
        place = torch.rand(len(self.codes), device=z.device) * mask.sum()
        return z[order[place.long().clamp(max=len(z) - 1)]]

    def _moments(self, raw: Tensor, mask: Tensor) -> Tensor:
        """Computes mean and variance of the masked vectors, `[2, dim]`; of fewer than two, returns the averages."""
        weight = mask[..., None].to(raw.dtype)
        count = weight.sum()
        mean = (raw * weight).sum((0, 1)) / count.clamp(min=1)
        variance = ((raw - mean).square() * weight).sum((0, 1)) / count.clamp(min=1)
        return torch.where(count > 1, torch.stack([mean, variance]), self._averages())

    def _averages(self) -> Tensor:
        return torch.stack([self.mean, self.variance])

    def _standard(self, z: Tensor, moments: Tensor) -> Tensor:
        mean, variance = moments
        # A channel that hardly varies stays small instead of being blown up.
        variance = torch.maximum(variance, 1e-2 * variance.mean() + 1e-12)
        return self._scaled((z - mean) * variance.rsqrt())

    def _scaled(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1) * z.shape[-1] ** 0.5 if self.distance == "cosine" else z


def _square_distance(z: Tensor, book: Tensor) -> Tensor:
    """Squared distance per channel of vectors `[..., dim]` to all codes `[C, dim]`, `[..., C]`."""
    square = z.square().sum(-1, keepdim=True) - 2 * z @ book.T + book.square().sum(-1)
    return square.clamp(min=0) / z.shape[-1]


def _num_processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
