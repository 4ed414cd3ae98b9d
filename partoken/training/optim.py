"""From train settings to a torch optimizer and its scheduler."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from partoken.schedule import Plan, PlanLR, StagedPlan
from partoken.training.settings import TrainSettings
from partoken.training.torch_scheduler import make_torch_scheduler

__all__ = ["ScheduledOptimizer", "build_optimizer", "build_scheduler", "parameter_groups"]

OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass
class ScheduledOptimizer:
    """An optimizer, its scheduler and its plan, with the number of steps that it has really taken."""

    name: str
    """Name among several optimizers; "" for the only one."""
    optimizer: Optimizer
    scheduler: LRScheduler
    plan: Plan | StagedPlan | None
    """None: the scheduler is the one of `train.scheduler`, which has no plan."""
    interval: str
    """When the scheduler moves: "epoch" or "step"."""
    last_rate: float = math.nan
    """Rate of the first parameter group in the last step; NaN before the first step."""
    steps: int = 0
    """Steps taken since the beginning of the run; a step that was skipped does not count."""

    @property
    def is_ahead(self) -> bool:
        """Whether the scheduler has moved as often as the optimizer, so that it must wait for the next step."""
        return self.plan is not None and self.interval == "step" and self.scheduler.last_epoch >= self.steps

    def planned_rate(self, step: int, epoch: int, group: Mapping[str, Any]) -> float | None:
        """Returns the planned rate of a parameter group at a step of an epoch, both from 0; None without a plan."""
        if self.plan is None:
            return None
        return self.plan.rate(self.plan.time(step, epoch), group["initial_lr"])


def build_optimizer(modules: Iterable[nn.Module], settings: TrainSettings, lr: float) -> Optimizer:
    """Creates the optimizer that `train.optimizer` names, over the groups of `parameter_groups`.

    Arguments:
        modules: their parameters are trained.
        settings: `optimizer` and `weight_decay` are read.
        lr: peak rate of every group.
    """
    options = {"momentum": 0.9} if settings.optimizer == "sgd" else {}
    groups = parameter_groups(modules, settings.weight_decay)
    optimizer: Optimizer = OPTIMIZERS[settings.optimizer](groups, lr=lr, **options)
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    optimizer.register_load_state_dict_post_hook(lambda loaded: _set_weight_decay(loaded, decays))
    return optimizer


def _set_weight_decay(optimizer: Optimizer, decays: Sequence[float]) -> None:
    """Sets the requested weight decay of each group again after a resume has loaded the saved one."""
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay


def parameter_groups(modules: Iterable[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """Splits parameters into a group with weight decay and a group without: biases, norms and scalars.

    A parameter with fewer than two dimensions is a bias, the gain of a norm or a single number. An empty group is
    left out.

    >>> [len(g["params"]) for g in parameter_groups([nn.Linear(2, 2), nn.LayerNorm(2)], 0.1)]
    [1, 3]
    """
    parameters = [p for module in modules for p in module.parameters() if p.numel()]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_scheduler(
    name: str, settings: TrainSettings, optimizer: Optimizer, plan: Plan | StagedPlan | None
) -> ScheduledOptimizer:
    """Creates the scheduler of an optimizer: a `LambdaLR` over the plan, or the one that `train.scheduler` names.

    `train.scheduler` may name any class of `torch.optim.lr_scheduler`, also with others inside (`SequentialLR`,
    `ChainedScheduler`). `ReduceLROnPlateau` follows `train.monitor` and moves by epoch.

    Arguments:
        name: of the optimizer; "" for the only one.
        settings: `scheduler`, `schedule_interval` and `on_schedule_change` are read.
        optimizer: whose rates move.
        plan: None if `train.scheduler` is set.
    """
    if plan is not None:
        scheduler: LRScheduler = PlanLR(optimizer, plan, extend=settings.on_schedule_change == "extend")
        return ScheduledOptimizer(name, optimizer, scheduler, plan, plan.interval)
    assert settings.scheduler is not None
    scheduler = make_torch_scheduler(settings.scheduler, optimizer)
    interval = "epoch" if isinstance(scheduler, ReduceLROnPlateau) else settings.schedule_interval
    return ScheduledOptimizer(name, optimizer, scheduler, None, interval)


def count_steps(scheduled: ScheduledOptimizer, before_step: Callable[[ScheduledOptimizer], None]) -> None:
    """Makes the optimizer call `before_step` before each step that it really takes, and count the step."""

    def on_step(*_: Any) -> None:
        scheduled.last_rate = float(scheduled.optimizer.param_groups[0]["lr"])
        before_step(scheduled)

    def after_step(*_: Any) -> None:
        scheduled.steps += 1

    scheduled.optimizer.register_step_pre_hook(on_step)
    scheduled.optimizer.register_step_post_hook(after_step)
