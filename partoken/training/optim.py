"""From a train config to a torch optimizer, and to a scheduler of torch's where one is named."""

from collections.abc import Mapping
from typing import Any

import hydra
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from partoken.errors import UserError

__all__ = ["OPTIMIZERS", "build_optimizer", "build_scheduler", "parameter_groups"]

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def build_optimizer(module: nn.Module, train: Mapping[str, Any], lr: float) -> torch.optim.Optimizer:
    """Creates the optimizer that `train.optimizer` names, over the groups of `parameter_groups`.

    Arguments:
        module: whose parameters are trained.
        train: the train config; reads `optimizer` and `weight_decay`.
        lr: peak rate of every group.

    Raises:
        UserError: an unknown optimizer, a negative weight decay or rate.
    """
    name, decay = train["optimizer"], train["weight_decay"]
    if name not in OPTIMIZERS:
        raise UserError(f"train.optimizer={name}: choose from {', '.join(OPTIMIZERS)}")
    if decay < 0:
        raise UserError(f"train.weight_decay={decay}: must be 0 or more")
    options = {"momentum": 0.9} if name == "sgd" else {}
    return OPTIMIZERS[name](parameter_groups(module, decay), lr=lr, **options)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Splits the parameters into those that decay and those that do not: biases, norms and scalars.

    Everything with fewer than two dimensions is a bias, the gain of a norm or a single number. An empty group is
    left out.

    >>> [len(g["params"]) for g in parameter_groups(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), 0.1)]
    [1, 3]
    """
    parameters = [p for p in module.parameters() if p.numel()]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [g for g in groups if g["params"]]


def build_scheduler(train: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Creates the scheduler that `train.scheduler` describes, as Lightning takes it from `configure_optimizers`.

    Any class of `torch.optim.lr_scheduler` can be named with `_target_`; those inside another one (`SequentialLR`,
    `ChainedScheduler`) as well. `ReduceLROnPlateau` follows `train.monitor`. It moves by `train.schedule_interval`.

    Raises:
        UserError: no such class, or arguments that it does not take.
    """
    scheduler = _instantiate_scheduler(train["scheduler"], optimizer)
    if not isinstance(scheduler, LRScheduler):
        raise UserError(f"train.scheduler._target_={train['scheduler'].get('_target_')}: not a learning-rate scheduler")
    plateau = isinstance(scheduler, ReduceLROnPlateau)
    return {
        "scheduler": scheduler,
        "interval": "epoch" if plateau else train["schedule_interval"],
        "frequency": 1,
        "monitor": train["monitor"],
    }


def _instantiate_scheduler(node: Any, optimizer: torch.optim.Optimizer) -> Any:
    if isinstance(node, list):
        return [_instantiate_scheduler(item, optimizer) for item in node]
    if not isinstance(node, Mapping):
        return node
    arguments = {k: _instantiate_scheduler(v, optimizer) for k, v in node.items() if k != "_target_"}
    target = node.get("_target_")
    if target is None:
        return arguments
    try:
        made = hydra.utils.get_object(target)
        if isinstance(made, type) and issubclass(made, LRScheduler):
            arguments["optimizer"] = optimizer
        return made(**arguments)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"train.scheduler: {target} cannot be created: {error}") from error
