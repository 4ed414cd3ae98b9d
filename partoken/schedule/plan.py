"""From a train config and the trainer's counts to a plan: which curve, in which unit, over what length, and why."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

from partoken.schedule.curve import ScheduleError, WarmupCosine

if TYPE_CHECKING:
    import torch

    from partoken.schedule.lr import PlanLR

__all__ = ["Plan", "explain_change", "optimizer_steps", "peak_rate", "plan_from_config"]

INTERVALS = ("epoch", "step")
EPOCH_WARMUP_FLOOR = 1e-6  # of the peak: what the ParToken document gives epoch 0
SETTINGS = {  # what the config may hold, and what a missing key means
    "use_cosine_schedule": False,
    "schedule_interval": "epoch",
    "lr": None,
    "min_lr": 0.0,
    "num_cycles": 0.5,
    "warmup_steps": None,
    "warmup_epochs": None,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Creates the plan of one stage of training. Two plans are equal when they give the same rates.

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

    def time(self, step: int, epoch: int) -> int:
        """Returns the curve's time at an optimizer step and its epoch, both counted from 0."""
        return step if self.interval == "step" else epoch

    def factor(self, time: float, base: float) -> float:
        """Returns the rate at `time` of a group whose peak is `base`, as a share of it: what a `LambdaLR` multiplies."""
        if self.curve is None:
            return 1.0
        return self.curve.factor(time, self.min_lr / base if self.min_lr else 0.0)

    def rate(self, time: float, base: float | None = None) -> float:
        """Returns the rate at `time` of a group whose peak is `base`, by default `lr`."""
        base = self.lr if base is None else base
        return base * self.factor(time, base)

    def scheduler(self, optimizer: "torch.optim.Optimizer", *, extend: bool = False) -> "PlanLR":
        """Creates the torch scheduler that follows this plan: see `PlanLR`."""
        from partoken.schedule.lr import PlanLR

        return PlanLR(optimizer, self, extend=extend)

    @property
    def headline(self) -> str:
        """The plan on one line: what won, and which setting was not used."""
        if self.curve is None:
            line = f"constant {self.lr:.2e}"
        else:
            waves = "" if self.curve.num_cycles == 0.5 else f"{self.curve.num_cycles:g} waves of "
            line = (
                f"warm-up {count(self.curve.warmup, self.interval)}{f' ({self.warmup_source})' * bool(self.warmup_source)}"
                f" to {self.lr:.2e}, then {waves}cosine to {self.min_lr:.2e} at {self.interval} {self.curve.total:,}"
            )
        return line + (f"; not used: {', '.join(self.unused)}" if self.unused else "")

    def advice(self) -> list[str]:
        """Returns a sentence for each choice that is known to hurt."""
        curve = self.curve
        if curve is None:
            return []
        unit, last = self.interval, curve.total - 1
        end, found = self.factor(curve.total, self.lr), []
        if curve.warmup and unit == "epoch":
            found.append(
                f"the first epoch runs at {curve.factor(0):.0e} of the peak rate, so nothing is learned in it; "
                "train.schedule_interval=step warms up within the epoch"
            )
        if curve.warmup == 0:
            found.append(f"there is no warm-up ({self.warmup_source}): the first {unit} runs at the peak rate")
        if curve.warmup > curve.total / 3:
            found.append(f"warm-up takes {curve.warmup / curve.total:.0%} of the run; 5 to 10 % is usual, 20 % is long")
        if (curve.num_cycles + 0.5) % 1:
            found.append(
                f"train.num_cycles={curve.num_cycles:g} ends at {end:.0%} of the peak; 0.5, 1.5, 2.5 ... end at the minimum"
            )
        elif (above := self.factor(last, self.lr) - end) > 0.01:
            found.append(
                f"the last {unit} runs at {self.rate(last):.2e}, {above:.0%} of the peak above train.min_lr="
                f"{self.min_lr:g}, which is never reached"
                + "; train.schedule_interval=step ends at it"
                * (unit == "epoch")
            )
        return found

    def fingerprint(self) -> dict[str, Any]:
        """Returns the plan as a plain dict of numbers and strings, which any checkpoint or JSON file can hold."""
        plain = asdict(self)
        del plain["unused"]
        for part in filter(None, (plain, plain["curve"])):
            part.update({k: _plain_number(v) for k, v in part.items() if isinstance(v, Real)})
        return plain

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
    train: Any,
    *,
    total_epochs: float | None = None,
    total_steps: float | None = None,
    steps_per_epoch: int | None = None,
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
    interval, lr, min_lr = chosen["schedule_interval"], chosen["lr"], chosen["min_lr"]
    known = {
        k: int(v) if _known(v) else None for k, v in (("total_epochs", total_epochs), ("total_steps", total_steps))
    }
    common = {"interval": interval, "lr": lr, "steps_per_epoch": steps_per_epoch, **known}
    if not chosen["use_cosine_schedule"]:
        set_in_vain = [
            k for k, neutral in SETTINGS.items() if k not in ("lr", "schedule_interval") and chosen[k] != neutral
        ]
        return Plan(curve=None, unused=tuple(map(_named(chosen), set_in_vain)), **common)
    if min_lr > lr:
        raise ScheduleError(
            f"train.min_lr={min_lr:g} is above train.lr={lr:g}: the rate would rise; set train.min_lr <= train.lr"
        )
    total = known[f"total_{interval}s"]
    if total is None:
        key = "trainer.max_steps" if interval == "step" else "train.epochs"
        raise ScheduleError(
            f"train.schedule_interval={interval} needs the length of the run, which is infinite or unknown "
            f"(total {interval}s: {total_steps if interval == 'step' else total_epochs}): set {key} to a number above 0"
        )
    warmup, source, unused = _warmup(chosen, total, steps_per_epoch)
    if warmup >= total:
        raise ScheduleError(
            f"warm-up takes {count(warmup, interval)} ({source}) and the run {count(total, interval)}: the peak rate would "
            f"never be reached; set train.warmup_{interval}s below {total}, or train longer (train.epochs)"
        )
    curve = WarmupCosine(warmup, total, EPOCH_WARMUP_FLOOR if interval == "epoch" else 0.0, chosen["num_cycles"])
    return Plan(curve=curve, min_lr=min_lr, warmup_source=source, unused=unused, **common)


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
    scaling, base = train.get("lr_scaling") or "none", train.get("lr_scaling_base_batch", 256)
    if scaling == "none":
        return train["lr"], ""
    if scaling != "linear":
        raise ScheduleError(
            f"train.lr_scaling={scaling}: choose none or linear.{_nearest(scaling, ('none', 'linear'))}"
        )
    if not _known(base):
        raise ScheduleError(f"train.lr_scaling_base_batch={base}: must be a number above 0")
    rate = train["lr"] * effective_batch / base
    return rate, (
        f"train.lr_scaling=linear: lr {train['lr']:.2e} for a batch of {base:g} becomes {rate:.2e} "
        f"for the effective batch of {effective_batch:g}"
    )


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
    return (
        f"the saved plan is: {saved.headline} (by {saved.interval})\n"
        f"the requested plan is: {requested.headline} (by {requested.interval})\n"
        f"the rate at step {step}, epoch {epoch} would go from {before:.3e} to {after:.3e}{ratio}"
    )


def count(number: float, unit: str) -> str:
    """Writes a number of epochs or steps.

    >>> count(1, "epoch"), count(1000, "step")
    ('1 epoch', '1,000 steps')
    """
    return f"{number:,} {unit}{'s' * (number != 1)}"


def _warmup(chosen: Mapping[str, Any], total: int, steps_per_epoch: int | None) -> tuple[int, str, tuple[str, ...]]:
    """Returns the warm-up in the unit of the interval, which key decided it, and the set keys that did not."""
    by_step = chosen["schedule_interval"] == "step"
    given = [key for key in ("warmup_steps", "warmup_epochs") if chosen[key] is not None]
    usable = [key for key in given if by_step or key == "warmup_epochs"]
    unused = tuple(_named(chosen)(key) for key in given if key not in usable[:1])
    if not usable:
        return total // 10, f"10 % of {total:,}, as no warm-up is set", unused
    key, value = usable[0], chosen[usable[0]]
    if by_step and key == "warmup_epochs":
        if steps_per_epoch is None:
            raise ScheduleError(
                f"train.{key}={value:g}: the steps of an epoch are not known; set train.warmup_steps instead"
            )
        value = math.floor(value * steps_per_epoch + 0.5)
    elif value != int(value):
        fix = "; train.schedule_interval=step takes fractions of an epoch" if not by_step else ""
        raise ScheduleError(
            f"train.{key}={value:g}: must be a whole number with train.schedule_interval={'step' if by_step else 'epoch'}{fix}"
        )
    return int(value), _named(chosen)(key), unused


def _check_values(chosen: Mapping[str, Any]) -> None:
    """Checks each setting by itself."""
    interval = chosen["schedule_interval"]
    if interval not in INTERVALS:
        raise ScheduleError(
            f"train.schedule_interval={interval}: choose {' or '.join(INTERVALS)}.{_nearest(str(interval), INTERVALS)}"
        )
    for key in ("lr", "min_lr", "num_cycles", "warmup_steps", "warmup_epochs"):
        value, positive = chosen[key], key in ("lr", "num_cycles")
        if value is None and key.startswith("warmup"):
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, Real)
            or not 0 <= value < math.inf
            or (positive and value == 0)
        ):
            raise ScheduleError(f"train.{key}={value!r}: must be a number {'above 0' if positive else 'of 0 or more'}")


def _known(number: float | None) -> bool:
    return number is not None and 0 < number < math.inf


def _named(chosen: Mapping[str, Any]) -> Any:
    return lambda key: f"train.{key}={chosen[key]:g}"


def _plain_number(value: Real) -> float:
    return int(value) if value == int(value) else float(value)


def _nearest(name: str, known: tuple[str, ...]) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f" Did you mean {found[0]}?" if found else ""
