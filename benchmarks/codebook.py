"""Compares the codebook with that of vector-quantize-pytorch on synthetic substructures.

    pip install vector-quantize-pytorch            the project itself does not need it
    python benchmarks/codebook.py                  about two minutes on two cores

A batch holds 32 chains with up to 10 vectors of 100 channels. The vectors belong to 60 clusters. All vectors share an
offset ten times as large as the differences between clusters. With drift, this offset moves at each step, as the common
part of substructure features does early in training.

Three forms are compared:

- own: `partoken.protein.model.codebook.Codebook`.
- library: `VectorQuantize` on the raw vectors.
- adapted: `VectorQuantize` instead of our codes, with our standardising and our entropy and coverage terms around it.

The error is the mean squared distance between vectors and their codes, divided by the variance of the vectors.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from partoken.protein.metrics import codebook_usage
from partoken.protein.model.codebook import Codebook, Quantized

try:
    from vector_quantize_pytorch import VectorQuantize
except ImportError:
    sys.exit("vector-quantize-pytorch is not installed; this comparison needs it: pip install vector-quantize-pytorch")

SIZE, DIM, DECAY = 512, 100, 0.99
CHAINS, SUBSTRUCTURES, CLUSTERS = 32, 10, 60
DRIFTS = (0.0, 0.01, 0.1)
# Our codebook replaces a code if its use falls below 3 % of the average. The library expects a number of vectors.
DEAD = 0.03 * CHAINS * SUBSTRUCTURES / SIZE
# Operations for which a processor waits for its GPU, because it needs a value or a size.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2")


def library(dim: int = DIM, size: int = SIZE, decay: float = DECAY) -> VectorQuantize:
    """Creates the library's codebook with the settings that come closest to ours."""
    return VectorQuantize(
        dim,
        codebook_size=size,
        decay=decay,
        kmeans_init=True,
        threshold_ema_dead_code=DEAD,
        rotation_trick=False,
    )


class AdaptedCodebook(Codebook):
    """Creates a drop-in replacement of `Codebook` in which the library learns the codes."""

    def __init__(self, size: int, dim: int, *, decay: float = DECAY, distance: str = "l2", temperature: float = 0.3):
        super().__init__(size, dim, decay=decay, distance=distance, temperature=temperature)
        self.library = library(dim, size, decay)

    def forward(self, z: Tensor, mask: Tensor) -> Quantized:
        """Quantises vectors `[B, K, dim]` where `mask` `[B, K]` bool is true."""
        learning = self.training and not self.frozen
        raw = z.float()
        moments = self._batch_moments(raw, mask) if learning else self._running_moments()
        z = self._standardise(raw, moments)
        book = self.library.codebook.clone()
        vectors, codes, _ = self.library(z, mask=mask, freeze_codebook=not learning)
        if not book.any():  # this batch has just placed the codes
            book = self.library.codebook.clone()
        weight = mask[..., None].to(z.dtype)
        distance = z - book[codes.clamp(min=0)]
        commitment = (distance.square() * weight).sum() / (mask.sum().clamp(min=1) * z.shape[-1])
        square = (z.square().sum(-1, keepdim=True) - 2 * z @ book.T + book.square().sum(-1)).clamp(min=0)
        spread = z.shape[-1] * book.var(0, unbiased=False).mean().clamp(min=1e-12)
        entropy, coverage = self._usage_losses(square / spread, mask)
        if learning:
            self.mean.lerp_(moments[0].detach(), 0.1)
            self.variance.lerp_(moments[1].detach(), 0.1)
        return Quantized(
            vectors=vectors * weight,
            standardised=z * weight,
            codes=codes.masked_fill(~mask, -1),
            commitment=commitment,
            entropy=entropy,
            coverage=coverage,
        )


class Stream:
    """Draws batches of substructures.

    Arguments:
        drift: Distance by which the common offset moves at each step, in units of the clusters' spread.
    """

    def __init__(self, drift: float):
        self.generator = torch.Generator().manual_seed(0)
        self.centres = self._normal(CLUSTERS, DIM)
        self.offset = 10 * self._normal(DIM)
        self.step = drift * self._normal(DIM)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def batch(self, num_chains: int = CHAINS) -> tuple[Tensor, Tensor]:
        """Returns vectors `[B, K, DIM]` and their mask `[B, K]` bool."""
        shape = (num_chains, SUBSTRUCTURES)
        cluster = torch.randint(CLUSTERS, shape, generator=self.generator)
        vectors = self.centres[cluster] + 0.3 * self._normal(*shape, DIM) + self.offset
        self.offset = self.offset + self.step
        return vectors, torch.rand(shape, generator=self.generator) < 0.95


class Waits(TorchDispatchMode):
    """Counts the operations for which the processor would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        indices = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        by_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        self.count += name in WAITING or by_mask
        return operation(*args, **(kwargs or {}))


def quantize(codebook: nn.Module, z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the codes' vectors in the space of `z`, the codes' numbers, and a loss."""
    if not isinstance(codebook, Codebook):
        vectors, codes, commitment = codebook(z, mask=mask)
        return vectors, codes.masked_fill(~mask, -1), commitment.sum() + (vectors * mask[..., None]).sum()
    moments = codebook._batch_moments(z, mask) if codebook.training else codebook._running_moments()
    output = codebook(z, mask)
    loss = output.commitment + output.entropy + output.coverage + output.vectors.sum()
    return output.vectors * moments[1].sqrt() + moments[0], output.codes, loss


def train(codebook: nn.Module, stream: Stream, steps: int) -> dict[str, float]:
    """Trains a codebook; returns the median time of a step, and its waits."""
    times = []
    for _ in range(steps):
        z, mask = stream.batch()
        z.requires_grad_()
        start = time.perf_counter()
        quantize(codebook, z, mask)[2].backward()
        times.append(time.perf_counter() - start)
    with Waits() as waits:
        quantize(codebook, z, mask)[2].backward()
    return {"ms a step": 1e3 * statistics.median(times), "waits": waits.count}


@torch.no_grad()
def evaluate(codebook: nn.Module, stream: Stream) -> dict[str, float]:
    """Counts the codes in use and measures the error on 320 chains without drift."""
    stream.step.zero_()
    if isinstance(codebook, Codebook):  # as the task does before it evaluates
        z, mask = stream.batch()
        codebook.calibrate(z[mask].mean(0), z[mask].var(0, unbiased=False))
    z, mask = stream.batch(num_chains=320)
    vectors, codes, _ = quantize(codebook.eval(), z, mask)
    codebook.train()
    present = z[mask]
    error = (vectors[mask] - present).square().mean() / present.var(0, unbiased=False).mean()
    usage = codebook_usage(codes, SIZE)
    return {"codes": usage["used_codes"], "perplexity": usage["perplexity"], "error": float(error)}


def is_still(codebook: nn.Module, stream: Stream) -> str:
    """Trains a frozen codebook, and says whether it kept every buffer to the bit."""
    codebook.frozen = codebook.freeze_codebook = True
    before = {name: value.clone() for name, value in codebook.state_dict().items()}
    for _ in range(20):
        quantize(codebook, *stream.batch())
    codebook.frozen = codebook.freeze_codebook = False
    still = all(torch.equal(value, before[name]) for name, value in codebook.state_dict().items())
    return "yes" if still else "no"


def empty_batch(codebook: nn.Module, stream: Stream) -> str:
    """Trains on a batch without substructures, and says how loss and codes react."""
    z, mask = stream.batch()
    own = type(codebook) is Codebook
    library_codebook = getattr(codebook, "library", codebook)
    before = (codebook.codes if own else library_codebook.codebook).clone()
    loss = quantize(codebook, z, torch.zeros_like(mask))[2]
    after = codebook.codes if own else library_codebook.codebook
    codes = "same codes" if torch.equal(before, after) else "other codes"
    return f"{'finite' if loss.isfinite() else 'NaN'} loss, {codes}"


def measure(create: Callable[[], nn.Module], drift: float, steps: int) -> dict[str, float | str]:
    """Trains, evaluates and tests one form."""
    torch.manual_seed(0)
    codebook, stream = create(), Stream(drift)
    row = train(codebook, stream, steps) | evaluate(codebook, stream)
    return row | {"frozen": is_still(codebook, stream), "empty batch": empty_batch(codebook, stream)}


def shown(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    forms = {
        "own": lambda: Codebook(SIZE, DIM, decay=DECAY),
        "library": library,
        "adapted": lambda: AdaptedCodebook(SIZE, DIM, decay=DECAY),
    }
    for drift in DRIFTS:
        for name, create in forms.items():
            row = {"drift": drift, "form": name, **measure(create, drift, settings.steps)}
            cells = (f"{key} {shown(value)}" for key, value in row.items())
            print("   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
