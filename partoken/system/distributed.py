"""Sums, gathered rows and random draws over the processes of a run on several devices.

A run on W devices has W processes, and each process has some rows of every batch. These functions give each process
the numbers that one process with the whole batch would have. With a single process they change nothing, bit for bit.

Every process has to call them in the same order.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Dropout", "Rows", "draw", "gather_rows", "gathered", "num_processes", "part_of_mean"]
__all__ += ["process_number", "total"]


class Rows(NamedTuple):
    """The place of this process's rows in a batch that several processes share.

    A plain tuple, because Lightning does not copy batches with frozen dataclasses inside.
    """

    start: int
    """Rows of the processes before this one."""
    total: int
    """Rows of all processes."""


def num_processes() -> int:
    """Returns the number of processes of the run, one for each device."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
    """Returns the number of this process, from 0."""
    return dist.get_rank() if num_processes() > 1 else 0


def total(x: Tensor) -> Tensor:
    """Sums a tensor of any shape over all processes; the gradients of all processes are summed too.

    The device does not have to wait for the host.

    Arguments:
        x: the same shape and dtype in each process, on the device of the process.
    """
    if num_processes() == 1:
        return x
    result: Tensor = _Total.apply(x)  # type: ignore[no-untyped-call]
    return result


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _summed(grads[0])


def _summed(x: Tensor) -> Tensor:
    x = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x)
    return x


def part_of_mean(size: int, rows: Rows | None) -> float:
    """Returns the factor of a mean over this process's rows whose mean over all processes is the mean over all rows.

    Gradients are averaged over the processes, so a loss needs this factor if the processes have different numbers of
    rows.

    Arguments:
        size: rows of this process.
        rows: their place; None: there are no others.

    >>> part_of_mean(9, None)
    1.0
    """
    return 1.0 if rows is None else size * num_processes() / rows.total


def gathered(x: Tensor) -> Tensor:
    """Stacks the tensors of all W processes, `[W, ...]`, without a gradient.

    Arguments:
        x: the same shape and dtype in each process.
    """
    if num_processes() == 1:
        return x[None]
    parts = [torch.empty_like(x) for _ in range(num_processes())]
    dist.all_gather(parts, x.contiguous())
    return torch.stack(parts)


def gather_rows(x: Tensor) -> Tensor:
    """Joins the rows `[M, ...]` of all processes in their order, without a gradient; M may differ.

    The host waits for the device, so this is not for a training step.
    """
    if num_processes() == 1:
        return x
    counts: list[int] = gathered(torch.tensor(len(x), device=x.device)).tolist()
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x
    return torch.cat([part[:count] for part, count in zip(gathered(padded), counts, strict=True)])


def draw(like: Tensor, fill: Callable[[Tensor], Tensor], rows: Rows | None) -> Tensor:
    """Fills a tensor with random numbers that do not depend on how the rows are distributed.

    Each process draws the numbers of all rows and keeps its own. All generators thereby stay in the same state, which
    is that of a single process.

    Arguments:
        like: the result has its shape, dtype and device.
        fill: fills a tensor in place with random numbers, such as `Tensor.uniform_`, and returns it.
        rows: the place of the rows of `like`; None: there are no others.

    Example:
        >>> whole = draw(torch.empty(5), Tensor.normal_, None) if torch.manual_seed(0) else None
        >>> part = draw(torch.empty(2), Tensor.normal_, Rows(start=3, total=5)) if torch.manual_seed(0) else None
        >>> bool((whole[3:] == part).all())
        True
    """
    if rows is None:
        return fill(torch.empty_like(like))
    return fill(like.new_empty(rows.total, *like.shape[1:]))[rows.start : rows.start + len(like)]


class Dropout(nn.Dropout):
    """Creates a dropout whose random numbers fit a run on several devices.

    Arguments:
        p: probability that an element is dropped.

    Example:
        >>> Dropout(0.5).eval()(torch.ones(2))
        tensor([1., 1.])
    """

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        """Drops elements in training.

        Arguments:
            x: `[M, ...]`.
            rows: the place of the rows of `x`: the dropped elements then do not depend on how the rows are
                distributed, but each process draws the numbers of all rows. None: each process draws numbers of its
                own, which differ from those of the other processes.
        """
        if not self.training or not self.p or num_processes() == 1:
            return F.dropout(x, self.p, self.training)
        if rows is None:
            return x * self._draw_own(x)
        return x * draw(x, lambda whole: F.dropout(whole.fill_(1.0), self.p), rows)

    def _draw_own(self, x: Tensor) -> Tensor:
        """Draws the factors from a generator of this process's own, so that the generators of all stay equal."""
        seed = int(torch.randint(1 << 62, ())) + process_number()  # on the CPU, so no device has to wait
        generator = torch.Generator(x.device).manual_seed(seed)
        return torch.empty_like(x).bernoulli_(1 - self.p, generator=generator) / (1 - self.p)
