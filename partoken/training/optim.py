"""From train settings to a torch optimizer and its scheduler."""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from partoken.schedule import Plan, PlanLR, StagedPlan
from partoken.schedule.tables import markdown
from partoken.training.groups import DEFAULT, Part
from partoken.training.settings import TrainSettings
from partoken.training.torch_scheduler import make_torch_scheduler

log = logging.getLogger(__name__)

__all__ = ["ParameterGroup", "ScheduledOptimizer", "build_optimizer", "build_scheduler", "parameter_groups"]

OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass(frozen=True)
class ParameterGroup:
    """A parameter group of a torch optimizer: parameters with one rate and one weight decay."""

    name: str
    """Of its part; see `partoken.training.groups.Part`. Two groups may have the same."""
    parameters: Sequence[nn.Parameter]
    lr: float
    """Peak rate."""
    weight_decay: float
    plan: Plan | StagedPlan | None = None
    """With `lr` as its peak. None: the scheduler is the one of `train.scheduler`, which has no plan."""


@dataclass
class ScheduledOptimizer:
    """An optimizer, its scheduler and its plan, with the number of steps that it has really taken."""

    name: str
    """Name among several optimizers; "" for the only one."""
    optimizer: Optimizer
    scheduler: LRScheduler
    plan: Plan | StagedPlan | None
    """Of the parameters without a group in `train.groups`. None: the scheduler is the one of `train.scheduler`."""
    interval: str
    """When the scheduler moves: "epoch" or "step"."""
    groups: Sequence[ParameterGroup] = ()
    """One for each parameter group of the optimizer."""
    group_plans: Mapping[str, Plan] = field(default_factory=dict)
    """Plan of each of `train.groups` that has one, by name."""
    last_rate: float = math.nan
    """Rate of the first parameter group in the last step; NaN before the first step."""
    steps: int = 0
    """Steps taken since the beginning of the run; a step that was skipped does not count."""

    @property
    def has_named_groups(self) -> bool:
        """Whether any of its parameters are in one of `train.groups`."""
        return any(group.name != DEFAULT for group in self.groups)

    @property
    def is_ahead(self) -> bool:
        """Whether the scheduler has moved as often as the optimizer, so that it must wait for the next step."""
        return self.plan is not None and self.interval == "step" and self.scheduler.last_epoch >= self.steps

    def planned_rate(self, step: int, epoch: int, number: int) -> float | None:
        """Returns the planned rate of a parameter group at a step of an epoch, all from 0; None without a plan."""
        plan = self.groups[number].plan
        if plan is None:
            return None
        return plan.rate(plan.time(step, epoch), self.optimizer.param_groups[number]["initial_lr"])


def build_optimizer(groups: Sequence[ParameterGroup], settings: TrainSettings) -> Optimizer:
    """Creates the optimizer that `train.optimizer` names.

    Arguments:
        groups: of `parameter_groups`.
        settings: `optimizer` is read.
    """
    options = {"momentum": 0.9} if settings.optimizer == "sgd" else {}
    own = [{"params": list(g.parameters), "lr": g.lr, "weight_decay": g.weight_decay} for g in groups]
    optimizer: Optimizer = OPTIMIZERS[settings.optimizer](own, **options)
    decays = [group.weight_decay for group in groups]
    optimizer.register_load_state_dict_post_hook(lambda loaded: _set_weight_decay(loaded, decays))
    return optimizer


def _set_weight_decay(optimizer: Optimizer, decays: Sequence[float]) -> None:
    """Sets the requested weight decay of each group again after a resume has loaded the saved one."""
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay


def parameter_groups(
    parts: Iterable[Part], settings: TrainSettings, rates: Mapping[str, float], plans: Mapping[str, Plan]
) -> list[ParameterGroup]:
    """Splits each part into a group with weight decay and a group without, which `no_weight_decay` names.

    A parameter with fewer than two dimensions is a bias, the gain of a norm or a single number. An empty group is
    left out.

    Arguments:
        parts: of the parameters of one optimizer.
        settings: of the parameters without a group in `train.groups`.
        rates: peak rate of each of `train.groups`, by its name; "" for the parameters without a group.
        plans: their plans, by the same names; empty if `train.scheduler` is set.

    Raises:
        UserError: the rate of a layer would begin below the minimum.

    >>> module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    >>> settings = TrainSettings(monitor="val_loss", monitor_mode="min")
    >>> parts = [Part("default", None, dict(module.named_parameters()))]
    >>> [(len(group.parameters), group.weight_decay) for group in parameter_groups(parts, settings, {"": 0.1}, {})]
    [(1, 0.0001), (3, 0.0)]
    """
    groups = []
    for part in parts:
        own, name = (settings, "") if part.group is None else (part.group.settings, part.group.name)
        plan = part.plan(plans[name]) if plans else None
        lr = part.share * rates[name] if plan is None else plan.lr
        spared, decaying = list[nn.Parameter](), list[nn.Parameter]()
        for parameter in part.parameters.values():
            is_spared = own.no_weight_decay == "biases_and_norms" and parameter.ndim < 2
            (spared if is_spared else decaying).append(parameter)
        groups.append(ParameterGroup(part.name, decaying, lr, own.weight_decay, plan))
        groups.append(ParameterGroup(part.name, spared, lr, 0.0, plan))
    return [group for group in groups if group.parameters]


def build_scheduler(
    name: str,
    settings: TrainSettings,
    groups: Sequence[ParameterGroup],
    plans: Mapping[str, Plan],
) -> ScheduledOptimizer:
    """Creates an optimizer and its scheduler: a `LambdaLR` over the plans, or the one that `train.scheduler` names.

    `train.scheduler` may name any class of `torch.optim.lr_scheduler`, also with others inside (`SequentialLR`,
    `ChainedScheduler`). `ReduceLROnPlateau` follows `train.monitor` and moves by epoch.

    Arguments:
        name: of the optimizer; "" for the only one.
        settings: `optimizer`, `scheduler`, `schedule_interval` and `on_schedule_change` are read.
        groups: of `parameter_groups`.
        plans: of `train.groups`, by name, and of the other parameters under ""; empty if `train.scheduler` is set.
    """
    optimizer = build_optimizer(groups, settings)
    if plans:
        plan, extend = plans[""], settings.forks or settings.on_schedule_change == "extend"
        own = {name: plan for name, plan in plans.items() if name}
        of_groups = [group.plan for group in groups if group.plan is not None] if own else ()
        scheduler: LRScheduler = PlanLR(optimizer, plan, extend=extend, group_plans=of_groups)
        return ScheduledOptimizer(name, optimizer, scheduler, plan, plan.interval, groups, own)
    assert settings.scheduler is not None
    scheduler = make_torch_scheduler(settings.scheduler, optimizer)
    interval = "epoch" if isinstance(scheduler, ReduceLROnPlateau) else settings.schedule_interval
    return ScheduledOptimizer(name, optimizer, scheduler, None, interval, groups)


def log_groups(scheduled: ScheduledOptimizer, frozen: Collection[nn.Parameter]) -> None:
    """Logs the plan of each of `train.groups`, and a table of the optimizer's parameter groups, if there are any.

    Arguments:
        scheduled: the optimizer.
        frozen: parameters that are not trained when the stage begins.
    """
    if not scheduled.has_named_groups:
        return
    title = f"schedule of {scheduled.name}" if scheduled.name else "schedule"
    for name, plan in scheduled.group_plans.items():
        log.info("%s, group %s: %s", title, name, plan.headline)
    rows = [("group", "tensors", "parameters", "frozen", "peak rate", "weight decay")]
    for group in scheduled.groups:
        num = sum(parameter.numel() for parameter in group.parameters)
        num_frozen = sum(parameter.numel() for parameter in group.parameters if parameter in frozen)
        sizes = f"{len(group.parameters)}", f"{num:,}", f"{num_frozen:,}"
        rows.append((group.name, *sizes, f"{group.lr:.2e}", f"{group.weight_decay:g}"))
    for line in markdown(rows):
        log.info("%s", line)


def count_steps(scheduled: ScheduledOptimizer, before_step: Callable[[ScheduledOptimizer], None]) -> None:
    """Makes the optimizer call `before_step` before each step that it really takes, and count the step."""

    def on_step(*_: Any) -> None:
        scheduled.last_rate = float(scheduled.optimizer.param_groups[0]["lr"])
        before_step(scheduled)

    def after_step(*_: Any) -> None:
        scheduled.steps += 1

    scheduled.optimizer.register_step_pre_hook(on_step)
    scheduled.optimizer.register_step_post_hook(after_step)
