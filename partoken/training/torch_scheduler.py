"""A scheduler of torch that `train.scheduler` names, instead of warm-up and cosine."""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from partoken.errors import UserError, did_you_mean
from partoken.system.targets import find_target

__all__ = ["check_torch_scheduler", "make_torch_scheduler"]


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


def check_torch_scheduler(node: Mapping[str, Any]) -> None:
    """Checks that a scheduler can be created, with an optimizer of one parameter.

    Raises:
        UserError: as `make_torch_scheduler`.
    """
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_torch_scheduler(node, optimizer)


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
