"""From a train config and the trainer's counts to a plan: which curve, in which unit, over what length, and why."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from typing import Any

from partoken.errors import did_you_mean
from partoken.schedule.curve import ScheduleError, WarmupCosine

__all__ = ["Plan", "explain_change", "optimizer_steps", "peak_rate", "plan_from_config"]

INTERVALS = ("epoch", "step")
EPOCH_WARMUP_FLOOR = 1e-6  # of the peak: what the ParToken document gives epoch 0
# What the config may hold, and what a missing key means.
SETTINGS = dict(use_cosine_schedule=False, schedule_interval="epoch", lr=None, min_lr=0.0, num_cycles=0.5)
SETTINGS |= dict(warmup_steps=None, warmup_epochs=None)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Creates the plan of a run, or of one stage of it. Two plans are equal when they give the same rates.

    Times count from the beginning of the stage. A run of several stages is several plans, one after another, each with
    its own 0.
    """

    interval: str
    """The unit of the curve's time: "epoch" or "step" (optimizer steps)."""
    curve: WarmupCosine | None
    """None: the rate is constant."""
    lr: float
    """The peak rate of parameter groups that have no rate of their own."""
    min_lr: float = 0.0
    """The rate at the end, of every group."""
    total_epochs: int | None = field(default=None, compare=False)
    """Epochs that the trainer will take; None where unknown."""
    total_steps: int | None = field(default=None, compare=False)
    """Optimizer steps that the trainer will take; None where unknown."""
    steps_per_epoch: int | None = field(default=None, compare=False)
    """Optimizer steps of a whole epoch; None where unknown."""
    warmup_source: str = field(default="", compare=False)
    """What decided the warm-up, such as "train.warmup_epochs=5"."""
    unused: tuple[str, ...] = field(default=(), compare=False)
    """Settings that have a value and no effect, such as "train.warmup_epochs=5"."""

    @property
    def length(self) -> float:
        """The end of the run in the plan's unit; 1 where it is not known, which only a constant rate allows."""
        return self.curve.total if self.curve else getattr(self, f"total_{self.interval}s") or 1

    def time(self, step: int, epoch: int) -> int:
        """Returns the curve's time at an optimizer step and its epoch, both counted from 0."""
        return step if self.interval == "step" else epoch

    def factor(self, time: float, base: float) -> float:
        """Returns the rate at `time` of a group whose peak is `base`, in units of it: what `LambdaLR` multiplies."""
        return 1.0 if self.curve is None else self.curve.factor(time, self.min_lr / base if self.min_lr else 0.0)

    def rate(self, time: float, base: float | None = None) -> float:
        """Returns the rate at `time` of a group whose peak is `base`, by default `lr`."""
        base = self.lr if base is None else base
        return base * self.factor(time, base)

    @property
    def headline(self) -> str:
        """The plan on one line: what decided the warm-up, and which setting was not used."""
        line = f"constant {self.lr:.2e}, train.use_cosine_schedule=false"
        if curve := self.curve:
            source = f" ({self.warmup_source})" if self.warmup_source else ""
            waves = "" if curve.num_cycles == 0.5 else f"{curve.num_cycles:g} waves of "
            line = f"warm-up {count(curve.warmup, self.interval)}{source} to {self.lr:.2e}, then {waves}cosine "
            line += f"to {self.rate(curve.total):.2e} at {self.interval} {curve.total:,.10g}"
        return line + (f"; not used: {', '.join(self.unused)}" if self.unused else "")

    def advice(self) -> list[str]:
        """Returns a sentence for each choice that is known to hurt."""
        if (curve := self.curve) is None:
            return []
        unit, last, end, found = self.interval, curve.total - 1, self.rate(curve.total), []
        by_step = "; train.schedule_interval=step moves within an epoch" if unit == "epoch" else ""
        if curve.warmup == 0:
            found.append(f"there is no warm-up ({self.warmup_source}): the first {unit} runs at the peak rate")
        elif unit == "epoch":
            first = f"{curve.factor(0):.0e} of the peak rate"
            found.append(f"the first epoch runs at {first}, so nothing is learned in it{by_step}")
        if curve.warmup > curve.total / 3:
            found.append(f"warm-up takes {100 * curve.warmup / curve.total:.0f} % of the run; 5 to 10 % is usual")
        if (curve.num_cycles + 0.5) % 1:
            found.append(f"train.num_cycles={curve.num_cycles:g} ends at {end:.2e}; 0.5, 1.5, ... end at train.min_lr")
        elif self.rate(last) - end > 0.01 * self.lr:
            found.append(f"the last {unit} runs at {self.rate(last):.2e}, so {end:.2e} is never reached{by_step}")
        return found

    def fingerprint(self) -> dict[str, Any]:
        """Returns the plan as numbers and strings, which any checkpoint or JSON file can hold."""
        plain = json.loads(json.dumps(asdict(self), default=float))  # default: NumPy's numbers
        return {key: value for key, value in plain.items() if key != "unused"}

    @classmethod
    def from_fingerprint(cls, fingerprint: Mapping[str, Any]) -> "Plan":
        """Creates the plan that left a fingerprint.

        Raises:
            ScheduleError: this is no fingerprint of a plan.
        """
        try:
            curve = fingerprint["curve"]
            return cls(**{**fingerprint, "curve": curve and WarmupCosine(**curve)})
        except (KeyError, TypeError) as error:
            raise ScheduleError(f"{fingerprint!r} is no fingerprint of a schedule: {error}") from error


def plan_from_config(
    train: Any, *, total_epochs: float | None, total_steps: float | None = None, steps_per_epoch: int | None = None
) -> Plan:
    """Makes the plan that a train config describes, for a run of the length that the trainer will take.

    Warm-up is the first that is set of `warmup_steps` (step interval only), `warmup_epochs` (fractions allowed in step
    interval, rounded to optimizer steps) and 10 % of the total, rounded down.

    Arguments:
        train: mapping or object with `use_cosine_schedule, schedule_interval, lr, min_lr, num_cycles, warmup_steps,
            warmup_epochs`; all but `lr` may be missing.
        total_epochs: epochs of the run; None, -1 or infinite where unknown.
        total_steps: optimizer steps of the run (see `optimizer_steps`); None, -1 or infinite where unknown.
        steps_per_epoch: optimizer steps of an epoch; None where unknown.

    Raises:
        ScheduleError: naming the keys, what was found, what is allowed and the fix.

    Example:
        >>> train = {"use_cosine_schedule": True, "schedule_interval": "step", "lr": 1e-3, "warmup_epochs": 0.5}
        >>> plan = plan_from_config(train, total_epochs=4, total_steps=100, steps_per_epoch=25)
        >>> print(plan.headline)
        warm-up 13 steps (train.warmup_epochs=0.5) to 1.00e-03, then cosine to 0.00e+00 at step 100
        >>> plan.rate(13)
        0.001
    """
    read = train.get if isinstance(train, Mapping) else lambda key, default: getattr(train, key, default)
    chosen = {key: read(key, default) for key, default in SETTINGS.items()}
    _check_values(chosen)
    unit, min_lr = chosen["schedule_interval"], chosen["min_lr"]
    epochs, steps = _whole(total_epochs), _whole(total_steps)
    lengths = {"total_epochs": epochs, "total_steps": steps, "steps_per_epoch": steps_per_epoch}
    plan = Plan(interval=unit, curve=None, lr=chosen["lr"], **lengths)
    if not chosen["use_cosine_schedule"]:
        keys = ("min_lr", "num_cycles", "warmup_steps", "warmup_epochs")
        return replace(plan, unused=_settings(chosen, [key for key in keys if chosen[key] != SETTINGS[key]]))
    if min_lr > plan.lr:
        raise ScheduleError(f"train.min_lr={min_lr:g} is above train.lr={plan.lr:g}: the rate would rise; lower min_lr")
    total, key = (steps, "trainer.max_steps") if unit == "step" else (epochs, "train.epochs")
    if total is None:
        found = f"the number of {unit}s of this run is infinite or unknown"
        raise ScheduleError(f"train.schedule_interval={unit}: {found}; set {key} to a number above 0")
    warmup, source, unused = _warmup(chosen, total, steps_per_epoch)
    if warmup >= total:
        found = f"warm-up takes {count(warmup, unit)} ({source}) of a run of {count(total, unit)}"
        fix = f"set train.warmup_{unit}s below {total}, or train longer (train.epochs)"
        raise ScheduleError(f"{found}, so the peak rate would never be reached: {fix}")
    curve = WarmupCosine(warmup, total, EPOCH_WARMUP_FLOOR if unit == "epoch" else 0.0, chosen["num_cycles"])
    return replace(plan, curve=curve, min_lr=min_lr, warmup_source=source, unused=unused)


def optimizer_steps(num_batches: int, accumulate: int, epochs: float, max_steps: int = -1) -> float:
    """Counts the optimizer steps that Lightning takes: the partial window at the end of an epoch is a step as well.

    Arguments:
        num_batches: batches of an epoch, on each device.
        accumulate: batches whose gradients make one step.
        epochs: epochs of the run; `math.inf` where only `max_steps` ends it.
        max_steps: optimizer steps after which the run ends; -1: none.

    >>> optimizer_steps(10, accumulate=4, epochs=3)
    9
    """
    steps = math.ceil(num_batches / accumulate) * epochs
    return steps if max_steps == -1 else min(steps, max_steps)


def peak_rate(train: Mapping[str, Any], effective_batch: float) -> tuple[float, str]:
    """Returns the peak rate after `train.lr_scaling`, and the sentence that states it ("" where nothing is scaled).

    `linear` multiplies the rate by the effective batch (batch size x accumulation x devices) over
    `train.lr_scaling_base_batch`, 256 where it is not set: Goyal et al. (2017), https://arxiv.org/abs/1706.02677.

    Raises:
        ScheduleError: an unknown scaling or a base batch that is not above 0.

    >>> peak_rate({"lr": 0.1, "lr_scaling": "linear", "lr_scaling_base_batch": 256}, effective_batch=1024)
    (0.4, 'train.lr_scaling=linear: lr 1.00e-01 for a batch of 256 becomes 4.00e-01 for the effective batch of 1024')
    """
    lr, scaling, base = train["lr"], train.get("lr_scaling") or "none", train.get("lr_scaling_base_batch", 256)
    if scaling not in ("none", "linear"):
        raise ScheduleError(f"train.lr_scaling={scaling}: choose none or linear")
    if scaling == "none":
        return lr, ""
    if not base > 0:
        raise ScheduleError(f"train.lr_scaling_base_batch={base}: must be above 0")
    rate = lr * effective_batch / base
    became = f"becomes {rate:.2e} for the effective batch of {effective_batch:g}"
    return rate, f"train.lr_scaling=linear: lr {lr:.2e} for a batch of {base:g} {became}"


def explain_change(saved: Plan, requested: Plan, *, step: int, epoch: int) -> str:
    """Says how a requested plan differs from the saved one, and what that does to the next rate; "" where it does not.

    Arguments:
        saved: the plan of the checkpoint.
        requested: the plan that would go on from it.
        step: optimizer steps taken.
        epoch: epochs completed.
    """
    if saved == requested:
        return ""
    before, after = (plan.rate(plan.time(step, epoch)) for plan in (saved, requested))
    ratio = f", x {after / before:.3g}" if before else ""
    plans = (f"the {name} plan: {plan.headline}" for name, plan in (("saved", saved), ("requested", requested)))
    jump = f"the rate at step {step}, epoch {epoch} would go from {before:.3e} to {after:.3e}{ratio}"
    return "\n".join([*plans, jump])


def count(number: float, unit: str) -> str:
    """Writes a number of epochs or steps.

    >>> count(1, "epoch"), count(1000, "step")
    ('1 epoch', '1,000 steps')
    """
    return f"{number:,.10g} {unit}{'s' * (number != 1)}"


def _warmup(chosen: Mapping[str, Any], total: int, steps_per_epoch: int | None) -> tuple[int, str, tuple[str, ...]]:
    """Returns the warm-up in the unit of the interval, the setting that decided it, and those that did not."""
    unit = chosen["schedule_interval"]
    given = [key for key in ("warmup_steps", "warmup_epochs") if chosen[key] is not None]
    usable = [key for key in given if unit == "step" or key == "warmup_epochs"]
    unused = _settings(chosen, [key for key in given if key not in usable[:1]])
    if not usable:
        return total // 10, f"10 % of {count(total, unit)}, as none is set", unused
    key, value = usable[0], chosen[usable[0]]
    (source,) = _settings(chosen, [key])
    if unit == "step" and key == "warmup_epochs":
        if steps_per_epoch is None:
            raise ScheduleError(f"{source}: the steps of an epoch are not known; set train.warmup_steps")
        value = math.floor(value * steps_per_epoch + 0.5)
    if value != int(value):
        fix = "; train.schedule_interval=step takes fractions of an epoch" if unit == "epoch" else ""
        raise ScheduleError(f"{source}: must be a whole number{fix}")
    return int(value), source, unused


def _check_values(chosen: Mapping[str, Any]) -> None:
    """Checks each setting by itself."""
    unit = chosen["schedule_interval"]
    if unit not in INTERVALS:
        hint = did_you_mean(str(unit), INTERVALS)
        raise ScheduleError(f"train.schedule_interval={unit}: choose {' or '.join(INTERVALS)}.{hint}")
    for key in ("lr", "min_lr", "num_cycles", "warmup_steps", "warmup_epochs"):
        value, positive = chosen[key], key in ("lr", "num_cycles")
        if value is None and key.startswith("warmup"):
            continue
        number = isinstance(value, Real) and not isinstance(value, bool) and 0 <= value < math.inf
        if not number or (positive and value == 0):
            raise ScheduleError(f"train.{key}={value!r}: must be a number {'above 0' if positive else 'of 0 or more'}")


def _whole(number: float | None) -> int | None:
    return int(number) if number is not None and 0 < number < math.inf else None


def _settings(chosen: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"train.{key}={chosen[key]:g}" for key in keys)
