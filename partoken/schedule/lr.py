"""Torch schedulers that follow the curve, for any training loop."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from partoken.schedule.curve import ScheduleError, WarmupCosine
from partoken.schedule.plan import Plan, explain_change
from partoken.schedule.stages import StagedPlan, read_fingerprint

__all__ = ["CosineAnnealingWarmupEpochLR", "CosineAnnealingWarmupLR", "PlanLR", "get_cosine_schedule_with_warmup"]


class PlanLR(LambdaLR):
    """A `LambdaLR` that follows a plan, with a factor for every parameter group.

    The state dict holds only numbers and strings, so `torch.load(..., weights_only=True)` reads it. It contains the
    plan and the peak of every group, and `load_state_dict` compares them with its own: torch would silently use the
    saved or the requested numbers, this class rejects a state of another plan. Load the optimizer's own state first;
    afterwards the optimizer has the rates of the plan.

    Arguments:
        optimizer: the current rate of each group is its peak. A group that is added later follows the curve from the
            next `step()`.
        plan: the plan to follow.
        last_epoch: the last completed time, in the plan's unit; -1: none.
        extend: follow this plan even if a state of another plan is loaded.
        group_plans: a plan for each of the optimizer's groups, in order, in the same unit; (): all follow `plan`.

    Raises:
        ScheduleError: a group's peak is below the minimum; in `load_state_dict`, a state of another plan.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        plan: Plan | StagedPlan,
        last_epoch: int = -1,
        *,
        extend: bool = False,
        group_plans: Sequence[Plan | StagedPlan] = (),
    ) -> None:
        self.plan, self.extend, self.group_plans = plan, extend, tuple(group_plans)
        bases = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
        plans = self.group_plans or [plan] * len(bases)
        factors = [self._factor(base, own) for base, own in zip(bases, plans, strict=True)]
        super().__init__(optimizer, factors, last_epoch)

    def get_lr(self) -> list[Any]:
        self._adopt_new_groups()
        return super().get_lr()

    def state_dict(self) -> dict[str, Any]:
        keys = ("last_epoch", "_step_count", "_last_lr", "base_lrs")
        own = {"group_plans": [plan.fingerprint() for plan in self.group_plans]} if self.group_plans else {}
        return {"plan": self.plan.fingerprint(), **own, **{key: self.__dict__[key] for key in keys}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._adopt_new_groups()
        if "plan" not in state_dict:
            raise ScheduleError(f"not a state of {type(self).__name__}: it has {sorted(state_dict)} and no plan")
        time, bases = state_dict["last_epoch"], state_dict["base_lrs"]
        saved = read_fingerprint(state_dict["plan"])
        of_groups = map(read_fingerprint, state_dict.get("group_plans", ()))
        changes = [
            explain_change(before, now, step=time, epoch=time)
            for before, now in zip((saved, *of_groups), (self.plan, *self.group_plans), strict=False)
        ]
        change = "\n".join(dict.fromkeys(filter(None, changes)))
        if change and not self.extend:
            raise ScheduleError(f"the state was saved under another plan\n{change}")
        if saved.interval != self.plan.interval:
            raise ScheduleError(f"a plan by {saved.interval} cannot be extended by another unit\n{change}")
        before = [float(base) for base in bases]
        now = [float(base) for base in self.base_lrs]
        if len(before) != len(now) or (before != now and not self.extend):
            raise ScheduleError(f"the state was saved with peak rates {before}, and the optimizer's are {now}")
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["initial_lr"] = base
        self._attach(time, state_dict["_step_count"])

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach(self.last_epoch, self._step_count)

    def _attach(self, time: int, step_count: int) -> None:
        """Sets the optimizer's rates to those of a time, and hooks into its steps, which pickling loses."""
        LRScheduler.__init__(self, self.optimizer, time - 1)
        self._step_count = step_count

    def _factor(self, base: Any, plan: Plan | StagedPlan) -> Callable[[int], float]:
        plan.check(float(base))
        return partial(plan.factor, base=float(base))  # not a closure: a scheduler can be pickled

    def _adopt_new_groups(self) -> None:
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            base = group.setdefault("initial_lr", group["lr"] + 0)  # + 0: a rate that is a tensor is copied
            self.base_lrs.append(base)
            self.lr_lambdas.append(self._factor(base, self.plan))


class CosineAnnealingWarmupLR(PlanLR):
    """Warm-up and cosine by optimizer step: call `step()` after every optimizer step.

    Arguments:
        optimizer: see `PlanLR`.
        warmup_steps: optimizer steps from 0 to the peak; 0 starts at the peak.
        total_steps: optimizer steps of the run, above `warmup_steps`; `optimizer_steps` counts them.
        eta_min: rate at the end, of every group.
        last_step: the last completed step; -1: none.

    Raises:
        ScheduleError: impossible lengths or rates.

    Example:
        With accumulation, mixed precision and clipping. If the scaler meets an infinity, it skips the optimizer's step
        and lowers its scale, and the schedule waits too.

        >>> import torch
        >>> from partoken.schedule import CosineAnnealingWarmupLR, optimizer_steps
        >>> _ = torch.manual_seed(0)
        >>> model, accumulate, epochs = torch.nn.Linear(3, 1), 4, 2
        >>> loader = [torch.randn(2, 3) for _ in range(10)]
        >>> total_steps = optimizer_steps(len(loader), accumulate, epochs)
        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
        >>> scheduler = CosineAnnealingWarmupLR(optimizer, warmup_steps=2, total_steps=total_steps, eta_min=1e-6)
        >>> scaler, rates = torch.amp.GradScaler("cpu"), []
        >>> for epoch in range(epochs):
        ...     for i, batch in enumerate(loader):
        ...         with torch.autocast("cpu", torch.bfloat16):
        ...             loss = model(batch).pow(2).mean() / accumulate
        ...         scaler.scale(loss).backward()
        ...         if (i + 1) % accumulate == 0 or i + 1 == len(loader):
        ...             scaler.unscale_(optimizer)
        ...             _ = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        ...             rates.append(scheduler.get_last_lr()[0])
        ...             scale = scaler.get_scale()
        ...             _ = scaler.step(optimizer)
        ...             scaler.update()
        ...             optimizer.zero_grad()
        ...             if scaler.get_scale() >= scale:
        ...                 scheduler.step()
        >>> print(*(f"{rate:.2e}" for rate in rates))
        0.00e+00 5.00e-04 1.00e-03 8.54e-04 5.00e-04 1.47e-04
    """

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, total_steps: int, eta_min: float = 0.0, last_step: int = -1
    ) -> None:
        super().__init__(optimizer, _plan(optimizer, "step", warmup_steps, total_steps, eta_min), last_step)


class CosineAnnealingWarmupEpochLR(PlanLR):
    """Warm-up and cosine by epoch: call `step()` after every epoch.

    Arguments:
        optimizer: see `PlanLR`.
        warmup_epochs: epochs from 0 to the peak; 0 starts at the peak.
        total_epochs: epochs of the run, above `warmup_epochs`.
        eta_min: rate at the end, of every group.
        last_epoch: the last completed epoch; -1: none.

    Raises:
        ScheduleError: impossible lengths or rates.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(3, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> scheduler = CosineAnnealingWarmupEpochLR(optimizer, warmup_epochs=2, total_epochs=6)
        >>> for epoch in range(6):
        ...     print(epoch, f"{scheduler.get_last_lr()[0]:.3f}")
        ...     for batch in (torch.ones(2, 3), torch.ones(2, 3)):
        ...         model(batch).sum().backward()
        ...         optimizer.step()
        ...         optimizer.zero_grad()
        ...     scheduler.step()
        0 0.000
        1 0.050
        2 0.100
        3 0.085
        4 0.050
        5 0.015
    """

    def __init__(
        self, optimizer: Optimizer, warmup_epochs: int, total_epochs: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        super().__init__(optimizer, _plan(optimizer, "epoch", warmup_epochs, total_epochs, eta_min), last_epoch)


def get_cosine_schedule_with_warmup(
    optimizer: Optimizer,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
    eta_min: float = 0.0,
) -> PlanLR:
    """Creates the scheduler that transformers has under this name. Past the end the rate stays, and does not rise.

    Arguments:
        optimizer: see `PlanLR`.
        num_warmup_steps: optimizer steps of warm-up.
        num_training_steps: optimizer steps of the run.
        num_cycles: waves of the cosine; 0.5 falls once.
        last_epoch: the last completed step; -1: none.
        eta_min: rate at the end.

    Raises:
        ScheduleError: impossible lengths or rates.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = get_cosine_schedule_with_warmup(optimizer, 2, 8, num_cycles=1.0)
        >>> rates = []
        >>> for step in range(8):
        ...     rates.append(round(scheduler.get_last_lr()[0], 3))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.0, 0.5, 1.0, 0.75, 0.25, 0.0, 0.25, 0.75]
    """
    plan = _plan(optimizer, "step", num_warmup_steps, num_training_steps, eta_min, num_cycles)
    return PlanLR(optimizer, plan, last_epoch)


def _plan(
    optimizer: Optimizer, interval: str, warmup: float, total: float, eta_min: float, num_cycles: float = 0.5
) -> Plan:
    if not eta_min >= 0:
        raise ScheduleError(f"eta_min={eta_min}: must be 0 or more")
    group, curve = optimizer.param_groups[0], WarmupCosine(warmup, total, num_cycles=num_cycles)
    return Plan(interval=interval, curve=curve, lr=float(group.get("initial_lr", group["lr"])), min_lr=eta_min)
