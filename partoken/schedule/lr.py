"""Torch schedulers made of the curve, for any training loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from partoken.schedule.curve import ScheduleError, WarmupCosine
from partoken.schedule.plan import Plan, explain_change

__all__ = ["CosineAnnealingWarmupEpochLR", "CosineAnnealingWarmupLR", "PlanLR", "get_cosine_schedule_with_warmup"]


class PlanLR(LambdaLR):
    """Creates the scheduler that follows a plan: a `LambdaLR` with a factor for every parameter group.

    The state dict holds numbers and strings only, so `torch.load(..., weights_only=True)` reads it. It carries the plan
    and the peak of every group, and loading it compares them: a state of another plan is refused, where torch would
    let the saved or the requested numbers win without a word. After loading, the optimizer has the rates of the plan;
    load the optimizer's own state before.

    Arguments:
        optimizer: its groups keep their own peak, the rate they have now. A group that is added later follows the
            curve, in its place, from the next `step()`.
        plan: what to follow.
        last_epoch: the last time that was completed, in the plan's unit; -1 begins.
        extend: go on with this plan when a state of another one is loaded.

    Raises:
        ScheduleError: a group's peak is below the minimum; from `load_state_dict`, a state of another plan.
    """

    def __init__(self, optimizer: Optimizer, plan: Plan, last_epoch: int = -1, *, extend: bool = False) -> None:
        self.plan, self.extend = plan, extend
        bases = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
        super().__init__(optimizer, [self._factor(base) for base in bases], last_epoch)

    def get_lr(self) -> list[Any]:
        self._adopt_new_groups()
        return super().get_lr()

    def state_dict(self) -> dict[str, Any]:
        keys = ("last_epoch", "_step_count", "_last_lr", "base_lrs")
        return {"plan": self.plan.fingerprint(), **{key: self.__dict__[key] for key in keys}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._adopt_new_groups()
        if "plan" not in state_dict:
            raise ScheduleError(f"not a state of {type(self).__name__}: it has {sorted(state_dict)} and no plan")
        time, saved, bases = state_dict["last_epoch"], Plan.from_fingerprint(state_dict["plan"]), state_dict["base_lrs"]
        change = explain_change(saved, self.plan, step=time, epoch=time)
        if change and not self.extend:
            raise ScheduleError(f"the state was saved under another plan\n{change}")
        if saved.interval != self.plan.interval:
            raise ScheduleError(f"a plan by {saved.interval} cannot be extended by another unit\n{change}")
        before, now = ([float(base) for base in rates] for rates in (bases, self.base_lrs))
        if len(before) != len(now) or (before != now and not self.extend):
            raise ScheduleError(f"the state was saved with peak rates {before}, and the optimizer's are {now}")
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["initial_lr"] = base
        self._attach(time, state_dict["_step_count"])

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach(self.last_epoch, self._step_count)

    def _attach(self, time: int, step_count: int) -> None:
        """Gives the optimizer the rates of a time, and watches its steps, which an optimizer forgets when pickled."""
        LRScheduler.__init__(self, self.optimizer, time - 1)
        self._step_count = step_count

    def _factor(self, base: Any) -> Callable[[int], float]:
        if self.plan.min_lr > base:
            raise ScheduleError(f"the minimum {self.plan.min_lr:g} is above a parameter group's rate, {float(base):g}")
        return partial(self.plan.factor, base=float(base))  # not a closure: a scheduler can be pickled

    def _adopt_new_groups(self) -> None:
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            base = group.setdefault("initial_lr", group["lr"] + 0)  # + 0: a rate that is a tensor is copied
            self.base_lrs.append(base)
            self.lr_lambdas.append(self._factor(base))


class CosineAnnealingWarmupLR(PlanLR):
    """Creates the scheduler that is stepped after every optimizer step."""

    def __init__(
        self, optimizer: Optimizer, warmup_steps: int, total_steps: int, eta_min: float = 0.0, last_step: int = -1
    ) -> None:
        super().__init__(optimizer, _plan(optimizer, "step", warmup_steps, total_steps, eta_min), last_step)


class CosineAnnealingWarmupEpochLR(PlanLR):
    """Creates the scheduler that is stepped after every epoch."""

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
    """Creates the scheduler that is known under this name from transformers; past the end it holds instead of rising.

    Arguments:
        optimizer: see `PlanLR`.
        num_warmup_steps: optimizer steps of warm-up.
        num_training_steps: optimizer steps of the run.
        num_cycles: cosine waves; 0.5 falls once.
        last_epoch: the last step that was completed; -1 begins.
        eta_min: the rate at the end.
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
