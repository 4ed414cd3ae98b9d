"""The length of a run: epochs and optimizer steps that the trainer will take."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from partoken.errors import UserError, check_number

__all__ = ["Done", "RunLength", "optimizer_steps"]

LIGHTNING_EPOCHS = 1000
"""Epochs that Lightning takes if neither `max_epochs` nor `max_steps` nor `max_time` is set."""


def optimizer_steps(num_batches: int, accumulate: int, epochs: float, max_steps: int = -1) -> float:
    """Counts the optimizer steps that Lightning takes.

    The last, partial window of an epoch is a step too, so an epoch has ceil(batches / accumulate) steps.

    Arguments:
        num_batches: batches of an epoch, on each device.
        accumulate: batches whose gradients make one step.
        epochs: epochs of the run; `math.inf` if only `max_steps` ends it.
        max_steps: optimizer steps after which the run ends; -1: no limit.

    >>> optimizer_steps(10, accumulate=4, epochs=3)
    9
    """
    steps = math.ceil(num_batches / accumulate) * epochs
    return steps if max_steps == -1 else min(steps, max_steps)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a resumed run has done of its length, up to the beginning of the epoch in which it goes on."""

    epochs: int = 0
    """Whole epochs."""
    steps: int = 0
    """Optimizer steps of these epochs, those that a gradient scaler skipped included."""


@dataclass(frozen=True, kw_only=True)
class RunLength:
    """Epochs and optimizer steps of a run. None means that a number is unknown or infinite."""

    total_epochs: int | None
    """Epochs of the run, a partial one included."""
    total_steps: int | None
    """Optimizer steps of the run."""
    steps_per_epoch: int | None
    """Optimizer steps of a whole epoch."""
    max_steps: int | None = None
    """Optimizer steps after which the run ends, if that was asked for."""
    max_time: Any = None
    """Time after which the run ends, if that was asked for."""
    done: Done = field(default=Done(), repr=False)
    """Its epochs may have had another number of steps than `steps_per_epoch`."""

    @classmethod
    def count(
        cls, *, epochs: int | None, max_steps: int | None, steps_per_epoch: int | None, done: Done = Done()
    ) -> Self:
        """Creates the length of a run that ends after `epochs` or `max_steps`, whichever comes first.

        Arguments:
            epochs: None: no limit.
            max_steps: None: no limit.
            steps_per_epoch: None: unknown, as for iterable data; then only `max_steps` gives a number of steps.
            done: of a resumed run; both limits count it.

        >>> RunLength.count(epochs=3, max_steps=10, steps_per_epoch=7)
        RunLength(total_epochs=2, total_steps=10, steps_per_epoch=7, max_steps=10, max_time=None)
        """
        if steps_per_epoch is None:
            return cls(total_epochs=epochs, total_steps=max_steps, steps_per_epoch=None, max_steps=max_steps, done=done)
        limits = [] if epochs is None else [done.steps + (epochs - done.epochs) * steps_per_epoch]
        limits += [] if max_steps is None else [max_steps]
        total_steps = min(limits, default=None)
        left = None if total_steps is None else math.ceil((total_steps - done.steps) / steps_per_epoch)
        return cls(
            total_epochs=None if left is None else done.epochs + left,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            max_steps=max_steps,
            done=done,
        )

    @classmethod
    def of_trainer(cls, trainer: Mapping[str, Any], num_batches: int | None, done: Done = Done()) -> Self:
        """Creates the length of a run from the `trainer` group of the configuration.

        Arguments:
            trainer: the group; missing keys have Lightning's defaults.
            num_batches: training batches of an epoch on each device; None: unknown.
            done: of a resumed run.

        Raises:
            UserError: a value that the trainer cannot have.
        """
        epochs, max_steps = _limits(trainer)
        accumulate = accumulated_batches(trainer)
        batches = None if num_batches is None else _limited(num_batches, trainer)
        steps = None if batches is None else math.ceil(batches / accumulate)
        length = cls.count(epochs=epochs, max_steps=max_steps, steps_per_epoch=steps, done=done)
        return replace(length, max_time=trainer.get("max_time"))


def accumulated_batches(trainer: Mapping[str, Any]) -> int:
    """Returns the batches whose gradients make one optimizer step, on each device.

    Raises:
        UserError: it is not a whole number of 1 or more.
    """
    accumulate: int = trainer.get("accumulate_grad_batches", 1)
    check_number("trainer.accumulate_grad_batches", accumulate, minimum=1, whole=True)
    return accumulate


def num_devices(trainer: Mapping[str, Any]) -> int:
    """Returns the number of devices of all machines.

    Raises:
        UserError: `trainer.devices` or `trainer.num_nodes` cannot be read.
    """
    nodes: int = trainer.get("num_nodes", 1)
    check_number("trainer.num_nodes", nodes, minimum=1, whole=True)
    return nodes * _devices(trainer.get("devices", "auto"), trainer.get("accelerator", "auto"))


def _devices(devices: Any, accelerator: Any) -> int:
    if isinstance(devices, str) and devices != "auto":
        numbers = [part.strip() for part in devices.split(",") if part.strip()]
        if not numbers or not all(part.lstrip("-").isdigit() for part in numbers):
            raise UserError(f"trainer.devices={devices}: must be a number, a list of device numbers, or auto")
        devices = int(numbers[0]) if len(numbers) == 1 else numbers
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return max(1, len(devices))
    if devices in ("auto", -1, None):
        return 1 if accelerator == "cpu" else _num_gpus()
    check_number("trainer.devices", devices, minimum=1, whole=True)
    return int(devices)


def _num_gpus() -> int:
    import torch  # only if the number of GPUs decides

    return max(1, torch.cuda.device_count())


def _limits(trainer: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Returns the most epochs and steps, read as Lightning reads them; None for no limit."""
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    if steps != -1:
        check_number("trainer.max_steps", steps, minimum=1, whole=True)
    if epochs is None:
        epochs = LIGHTNING_EPOCHS if steps == -1 and trainer.get("max_time") is None else -1
    if epochs != -1:
        check_number("trainer.max_epochs", epochs, minimum=1, whole=True)
    return (None if epochs == -1 else epochs), (None if steps == -1 else steps)


def _limited(num_batches: int, trainer: Mapping[str, Any]) -> int:
    """Returns the batches of an epoch after `limit_train_batches` and `overfit_batches`."""
    key = "overfit_batches" if trainer.get("overfit_batches") else "limit_train_batches"
    limit = trainer.get(key, 1.0)
    if limit is None:
        limit = 1.0
    whole = isinstance(limit, int)
    check_number(f"trainer.{key}", limit, above=0, maximum=None if whole else 1)
    batches = min(num_batches, limit) if whole else int(num_batches * limit)
    if not batches:
        raise UserError(f"trainer.{key}={limit}: leaves no batch of the {num_batches} of an epoch; raise it")
    return batches
