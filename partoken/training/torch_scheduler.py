"""A scheduler of torch that `train.scheduler` names, instead of warm-up and cosine."""

import importlib
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from partoken.errors import UserError, did_you_mean
from partoken.system.targets import find_target

__all__ = ["check_torch_scheduler", "make_torch_scheduler"]

TRIED_STEPS = 10_000
"""Steps of a scheduler that are tried before the training, at most; they take about half a second."""


def make_torch_scheduler(node: Mapping[str, Any], optimizer: Optimizer) -> LRScheduler:
    """Creates a scheduler of `torch.optim.lr_scheduler`.

    Arguments:
        node: `_target_`, the name of a class, and its arguments without the optimizer; schedulers inside a scheduler
            (`SequentialLR`, `ChainedScheduler`) are such mappings too.
        optimizer: whose rates it moves.

    Raises:
        UserError: there is no such class, or it does not take these arguments.
    """
    scheduler: LRScheduler = _create(node, optimizer)
    return scheduler


def check_torch_scheduler(node: Mapping[str, Any], *, rates: Sequence[float] = (1.0,), steps: int = 1) -> None:
    """Creates a scheduler with an optimizer of a few weights, and moves it as often as a run would.

    Arguments:
        node: as for `make_torch_scheduler`.
        rates: peak rate of `train`, and of each of `train.groups`.
        steps: of the scheduler in the run; at most `TRIED_STEPS` of them are tried.

    Raises:
        UserError: as `make_torch_scheduler`; or the scheduler fails in one of its steps, is shorter than the run, or
            gives a rate that no optimizer can use, or gives groups with different peaks the same rate.
    """
    # Two groups for each peak, as `parameter_groups` makes them. The momentum is what OneCycleLR and CyclicLR move
    # beside the rate.
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates for _ in range(2)]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    target = node["_target_"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer itself is never stepped
        try:
            scheduler = make_torch_scheduler(node, optimizer)
        except UserError:
            raise
        except Exception as error:  # each scheduler raises other types
            raise UserError(f"train.scheduler: {target} cannot be created: {_reason(error)}") from error
        length = scheduler.total_steps if isinstance(scheduler, OneCycleLR) else steps
        if length < steps:
            raise UserError(
                f"train.scheduler: {target} ends after {length} steps (total_steps, or epochs times steps_per_epoch), "
                f"and the run has {steps} of them; make it as long as the run"
            )
        for step in range(min(steps, TRIED_STEPS)):
            _check_rates(optimizer, target, step)
            if not step:
                _check_peaks(optimizer, target, rates)
            _move(scheduler, target, step, steps)


def _move(scheduler: Any, target: str, step: int, steps: int) -> None:
    try:
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(0.0)
        else:
            scheduler.step()
    except Exception as error:  # each scheduler raises other types
        raise UserError(
            f"train.scheduler: {target} fails at step {step + 1} of {steps}: {_reason(error)}; correct its arguments"
        ) from error


def _check_rates(optimizer: Optimizer, target: str, step: int) -> None:
    for group in optimizer.param_groups:
        if not 0 <= group["lr"] < math.inf:
            raise UserError(
                f"train.scheduler: {target} gives the rate {group['lr']:g} at step {step + 1}; a rate must be a finite "
                "number of 0 or more, so correct its arguments"
            )


def _check_peaks(optimizer: Optimizer, target: str, rates: Sequence[float]) -> None:
    """Rejects a scheduler that sets the rates of all groups itself, such as OneCycleLR with one `max_lr`."""
    applied = {group["lr"] for group in optimizer.param_groups}
    if len(set(rates)) > 1 and applied != {0} and len(applied) == 1:
        raise UserError(
            f"train.scheduler: {target} gives every group of train.groups the same rate, {applied.pop():g}; choose a "
            "scheduler that multiplies the rate of each group, or set train.groups=null"
        )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _create(node: Any, optimizer: Optimizer) -> Any:
    if isinstance(node, (list, tuple)):
        return [_create(item, optimizer) for item in node]
    if not isinstance(node, Mapping):
        return node
    arguments = {key: _create(value, optimizer) for key, value in node.items() if key != "_target_"}
    target = node.get("_target_")
    if target is None:
        return arguments
    try:
        return _find_class(target)(optimizer=optimizer, **arguments)
    except UserError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"train.scheduler: {target} cannot be created: {error}") from error


def _find_class(target: Any) -> type[LRScheduler]:
    """Returns the class of a dotted name; nothing but a scheduler is ever called."""
    key = "train.scheduler._target_"
    module_name, _, name = str(target).rpartition(".")
    try:
        found = find_target(str(target), key)
    except ImportError as error:
        raise UserError(f"{key}={target}: there is no module {module_name!r}: {error}") from error
    except AttributeError as error:
        hint = did_you_mean(name, dir(importlib.import_module(module_name)))
        raise UserError(f"{key}={target}: {module_name} has no class {name}.{hint}") from error
    if not isinstance(found, type) or not issubclass(found, LRScheduler):
        raise UserError(f"{key}={target}: is not a learning-rate scheduler of torch; name a class of torch.optim")
    return found
