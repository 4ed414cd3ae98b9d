"""From schedule settings and the length of a run to a plan: which curve, in which unit, over what length, and why."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from partoken.schedule.curve import Curve, ScheduleError, Segments, WarmupCosine
from partoken.schedule.extending import count, describe, explain_segments
from partoken.schedule.grammar import read_segments
from partoken.schedule.length import RunLength
from partoken.schedule.segment import Segment
from partoken.schedule.settings import ScheduleSettings

__all__ = ["Plan", "explain_change", "make_plan", "peak_rate", "plan_from_config"]

EPOCH_WARMUP_FLOOR = 1e-6
"""Factor of the peak in epoch 0 of a plan by epoch, from the ParToken document."""

LOW = 1e-3
"""Factor of the peak below which an epoch teaches nothing."""

WARMUP_KEYS = ("warmup_steps", "warmup_epochs")
COSINE_KEYS = ("min_lr", "num_cycles", *WARMUP_KEYS)
REPLACED_KEYS = ("num_cycles", *WARMUP_KEYS)
"""Keys of warm-up and cosine that a list of segments replaces."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The rates of a run, or of one stage of it. Two plans are equal if they give the same rates.

    Times count from the beginning of the stage. A run of several stages is a `StagedPlan`.
    """

    interval: str
    """Unit of the curve's time: "epoch" or "step" (optimizer steps)."""
    curve: WarmupCosine | Segments | None
    """None: the rate is constant."""
    lr: float
    """Peak rate of parameter groups that have no rate of their own."""
    min_lr: float = 0.0
    """Rate at the end, of every group."""
    total_epochs: int | None = field(default=None, compare=False)
    """Epochs that the trainer will take; None: unknown."""
    total_steps: int | None = field(default=None, compare=False)
    """Optimizer steps that the trainer will take; None: unknown."""
    steps_per_epoch: int | None = field(default=None, compare=False)
    """Optimizer steps of a whole epoch; None: unknown."""
    warmup_source: str = field(default="", compare=False)
    """The setting that decided the warm-up, such as "train.warmup_epochs=5"."""
    unused: tuple[str, ...] = field(default=(), compare=False)
    """Settings that have a value and no effect, such as "train.warmup_epochs=5"."""
    scaling: str = field(default="", compare=False)
    """How `train.lr_scaling` changed the peak, as a sentence; "" if it did not."""
    stage: str = field(default="", compare=False)
    """Name of the stage; "" if the run is one stage."""

    @property
    def plans(self) -> "tuple[Plan, ...]":
        """The plans of the stages: this one."""
        return (self,)

    @property
    def length(self) -> float:
        """End of the run in the plan's unit; 1 if it is unknown, as only a constant rate allows."""
        if self.curve is not None:
            return self.curve.total
        total = self.total_epochs if self.interval == "epoch" else self.total_steps
        return total or 1

    def time(self, step: int, epoch: int) -> int:
        """Returns the curve's time at an optimizer step and its epoch, both counted from 0."""
        return step if self.interval == "step" else epoch

    def factor(self, time: float, base: float) -> float:
        """Returns the rate at `time` of a group whose peak is `base`, as a factor of `base`: a `LambdaLR` needs it."""
        if self.curve is None:
            return 1.0
        return float(self.curve.factor(time, self.min_lr / base if self.min_lr else 0.0, base))

    def check(self, base: float, keys: Sequence[str] = ()) -> None:
        """Rejects a parameter group whose peak is `base` if its rate would rise where it should fall.

        Arguments:
            base: peak of the group.
            keys: configuration key of each segment, for messages.

        Raises:
            ScheduleError: naming the minimum or the segment.
        """
        if self.min_lr > base:
            raise ScheduleError(f"the minimum {self.min_lr:g} is above a parameter group's rate, {base:g}")
        if isinstance(self.curve, Segments):
            self.curve.check(self.min_lr / base, base, keys)

    def rate(self, time: float, base: float | None = None) -> float:
        """Returns the rate at `time` of a group whose peak is `base`, by default `lr`."""
        base = self.lr if base is None else base
        return base * self.factor(time, base)

    @property
    def headline(self) -> str:
        """The plan on one line, with the setting that decided the warm-up and the settings without effect."""
        line = f"constant {self.lr:.2e}, train.use_cosine_schedule=false"
        if isinstance(curve := self.curve, Segments):
            ends = curve.ends(self.min_lr / self.lr, self.lr)
            listed = list(zip(curve.segments, ends, strict=True))[curve.inherited :]
            parts = [describe(segment, self.lr * end, self.interval) for segment, (_, end) in listed]
            if curve.inherited:
                at = f"{self.interval} {curve.forked_at:,.10g}"
                parts.insert(0, f"forks off at {at} with {self.rate(curve.forked_at):.2e}")
            line = f"{', '.join(parts)} at {self.interval} {curve.total:,.10g}"
        elif curve:
            source = f" ({self.warmup_source})" if self.warmup_source else ""
            waves = "" if curve.num_cycles == 0.5 else f"{curve.num_cycles:g} waves of "
            end = f"{self.rate(curve.total):.2e} at {self.interval} {curve.total:,.10g}"
            line = f"warm-up {count(curve.warmup, self.interval)}{source} to {self.lr:.2e}, then {waves}cosine to {end}"
        return line + (f"; not used: {', '.join(self.unused)}" if self.unused else "")

    def advice(self) -> list[str]:
        """Returns a sentence for each choice that is known to hurt."""
        curve = self.curve
        if curve is None:
            return []
        if isinstance(curve, Segments) and curve.inherited:
            return list(filter(None, [self._advice_on_end(curve)]))
        advice = [self._advice_on_start()]
        if curve.warmup > curve.total / 3:
            percent = f"{100 * curve.warmup / curve.total:.0f} %"
            advice.append(f"warm-up takes {percent} of the run; 5 to 10 % is usual")
        advice.append(self._advice_on_end(curve))
        return [sentence for sentence in advice if sentence]

    def _advice_on_start(self) -> str:
        start = self.factor(0, self.lr)
        if start == 1:
            source = f" ({self.warmup_source})" if self.warmup_source else ""
            return f"there is no warm-up{source}: the first {self.interval} runs at the peak rate"
        if self.interval == "epoch" and start < LOW:
            return f"the first epoch runs at {start:.0e} of the peak rate, so nothing is learned in it; {_BY_STEP}"
        return ""

    def _advice_on_end(self, curve: Curve) -> str:
        end, last = self.rate(curve.total), self.rate(curve.total - 1)
        if isinstance(curve, WarmupCosine) and (curve.num_cycles + 0.5) % 1:
            return f"train.num_cycles={curve.num_cycles:g} ends at {end:.2e}; 0.5, 1.5, ... end at train.min_lr"
        if last - end > 0.01 * self.lr:
            fix = f"; {_BY_STEP}" if self.interval == "epoch" else ""
            return f"the last {self.interval} runs at {last:.2e}, so {end:.2e} is never reached{fix}"
        return ""

    def fingerprint(self) -> dict[str, Any]:
        """Returns the plan as plain numbers and strings, for a checkpoint or a JSON file."""
        plain = json.loads(json.dumps(asdict(self), default=float))  # default: NumPy's numbers
        return {key: value for key, value in plain.items() if key not in ("unused", "scaling")}

    @classmethod
    def from_fingerprint(cls, fingerprint: Mapping[str, Any]) -> Self:
        """Creates the plan that `fingerprint` returned.

        Raises:
            ScheduleError: it is not the fingerprint of a plan.
        """
        try:
            curve = fingerprint["curve"]
            return cls(**{**fingerprint, "curve": curve and _read_curve(curve)})
        except (KeyError, TypeError) as error:
            raise ScheduleError(f"{fingerprint!r} is no fingerprint of a schedule: {error}") from error


_BY_STEP = "train.schedule_interval=step moves within an epoch"


def make_plan(settings: ScheduleSettings, length: RunLength, *, effective_batch: float = 1) -> Plan:
    """Makes the plan of one stage.

    The warm-up is the first of these that is set: `warmup_steps` (interval "step" only), `warmup_epochs` (with the
    interval "step" rounded to optimizer steps), 10 % of the total, rounded down.

    Arguments:
        settings: see `ScheduleSettings`.
        length: of the stage.
        effective_batch: samples of one optimizer step, over all devices; only `lr_scaling` reads it.

    Raises:
        ScheduleError: naming the keys, what was found, what is allowed and the fix.
    """
    lr, scaling = peak_rate(settings, effective_batch)
    plan = Plan(
        interval=settings.schedule_interval,
        curve=None,
        lr=lr,
        total_epochs=length.total_epochs,
        total_steps=length.total_steps,
        steps_per_epoch=length.steps_per_epoch,
        scaling=scaling,
    )
    if settings.forks:
        return plan  # of which `fork_plan` makes the one that goes on from the checkpoint
    if settings.segments is not None:
        return _follow_segments(plan, settings, length)
    if not settings.use_cosine_schedule:
        return replace(plan, unused=_assignments(settings, _changed(settings, COSINE_KEYS)))
    if settings.min_lr > lr:
        problem = f"{settings.assignment('min_lr')} is above {settings.key('lr')}={lr:g}"
        raise ScheduleError(f"{problem}: the rate would rise; lower min_lr")
    total = _total(settings, length)
    warmup, source, unused = _warmup(settings, total, length.steps_per_epoch)
    if warmup >= total:
        unit = settings.schedule_interval
        problem = f"warm-up takes {count(warmup, unit)} ({source}) of a run of {count(total, unit)}"
        fix = f"set {settings.key(f'warmup_{unit}s')} below {total}, or train longer ({settings.key('epochs')})"
        raise ScheduleError(f"{problem}, so the peak rate would never be reached: {fix}")
    floor = EPOCH_WARMUP_FLOOR if settings.schedule_interval == "epoch" else 0.0
    curve = WarmupCosine(warmup, total, floor, settings.num_cycles)
    return replace(plan, curve=curve, min_lr=settings.min_lr, warmup_source=source, unused=unused)


def plan_from_config(
    train: Any, *, total_epochs: float | None, total_steps: float | None = None, steps_per_epoch: int | None = None
) -> Plan:
    """Makes the plan of a training configuration, for any training loop; see `make_plan`.

    Arguments:
        train: mapping or object with the names of `ScheduleSettings`; all but `lr` may be missing.
        total_epochs: epochs of the run; None, -1 or infinite if unknown.
        total_steps: optimizer steps of the run (see `optimizer_steps`); None, -1 or infinite if unknown.
        steps_per_epoch: optimizer steps of an epoch; None if unknown.

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
    length = RunLength(
        total_epochs=_known(total_epochs), total_steps=_known(total_steps), steps_per_epoch=steps_per_epoch
    )
    settings = replace(ScheduleSettings.read(train), lr_scaling="none")
    return make_plan(settings, length)


def peak_rate(train: Any, effective_batch: float) -> tuple[float, str]:
    """Returns the peak rate after `train.lr_scaling`, and a sentence about it ("" if nothing is scaled).

    `linear` multiplies the rate by the effective batch over `train.lr_scaling_base_batch`.

    References:
        Goyal et al., Accurate, Large Minibatch SGD (2017), https://arxiv.org/abs/1706.02677

    Arguments:
        train: `ScheduleSettings`, or a mapping or object with their names.
        effective_batch: samples of one optimizer step: batch size x accumulation x devices.

    Raises:
        ScheduleError: an unknown scaling, or a base batch that is not above 0.

    >>> peak_rate({"lr": 0.1, "lr_scaling": "linear", "lr_scaling_base_batch": 256}, effective_batch=1024)
    (0.4, 'train.lr_scaling=linear: lr 1.00e-01 for a batch of 256 becomes 4.00e-01 for the effective batch of 1024')
    """
    settings = train if isinstance(train, ScheduleSettings) else ScheduleSettings.read(train)
    if settings.lr_scaling != "linear":
        return settings.lr, ""
    base = settings.lr_scaling_base_batch
    rate = settings.lr * effective_batch / base
    before = f"{settings.key('lr_scaling')}=linear: lr {settings.lr:.2e} for a batch of {base:g}"
    return rate, f"{before} becomes {rate:.2e} for the effective batch of {effective_batch:g}"


def explain_change(saved: Any, requested: Any, *, step: int, epoch: int) -> str:
    """Explains how a requested plan differs from the saved one and how the next rate changes; "" if they are equal.

    Arguments:
        saved: the plan of the checkpoint, a `Plan` or a `StagedPlan`.
        requested: the plan that would continue from it.
        step: optimizer steps taken.
        epoch: epochs completed.
    """
    if saved == requested:
        return ""
    before, after = (plan.rate(plan.time(step, epoch)) for plan in (saved, requested))
    ratio = f", x {after / before:.3g}" if before else ""
    jump = f"the rate at step {step}, epoch {epoch} would go from {before:.3e} to {after:.3e}{ratio}"
    segments = explain_segments(saved, requested, saved.time(step, epoch))
    return "\n".join(
        [f"the saved plan: {saved.headline}", f"the requested plan: {requested.headline}", *segments, jump]
    )


def _follow_segments(plan: Plan, settings: ScheduleSettings, length: RunLength) -> Plan:
    """Returns a plan with the curve of `schedule.segments`."""
    total, unit = _total(settings, length), settings.schedule_interval
    curve, keys = read_segments(settings.segments, total, unit, length.steps_per_epoch, settings.segments_key)
    has_minimum = any(segment.ends_at_minimum for segment in curve.segments)
    plan = replace(plan, curve=curve, min_lr=settings.min_lr if has_minimum else 0.0)
    plan.check(plan.lr, keys)
    unused = _assignments(settings, _changed(settings, REPLACED_KEYS if has_minimum else COSINE_KEYS))
    cosine = (f"{settings.key('use_cosine_schedule')}=true",) if settings.use_cosine_schedule else ()
    return replace(plan, unused=cosine + unused)


def _read_curve(fields: Mapping[str, Any]) -> WarmupCosine | Segments:
    if "segments" not in fields:
        return WarmupCosine(**fields)
    return Segments(tuple(Segment(**segment) for segment in fields["segments"]), fields.get("inherited", 0))


def _total(settings: ScheduleSettings, length: RunLength) -> int:
    """Returns the end of the run in the unit of the interval."""
    unit = settings.schedule_interval
    total, key = (length.total_steps, "trainer.max_steps") if unit == "step" else (length.total_epochs, "train.epochs")
    if total is None:
        problem = f"the number of {unit}s of this run is infinite or unknown"
        raise ScheduleError(f"{settings.key('schedule_interval')}={unit}: {problem}; set {key} to a number above 0")
    return total


def _warmup(settings: ScheduleSettings, total: int, steps_per_epoch: int | None) -> tuple[int, str, tuple[str, ...]]:
    """Returns the warm-up in the unit of the interval, the setting that decided it, and the settings that did not."""
    unit = settings.schedule_interval
    given = [key for key in WARMUP_KEYS if getattr(settings, key) is not None]
    usable = [key for key in given if unit == "step" or key == "warmup_epochs"]
    unused = _assignments(settings, [key for key in given if key not in usable[:1]])
    if not usable:
        return total // 10, f"10 % of {count(total, unit)}, as none is set", unused
    key = usable[0]
    value, source = getattr(settings, key), settings.assignment(key)
    if unit == "step" and key == "warmup_epochs":
        if steps_per_epoch is None:
            fix = f"set {settings.key('warmup_steps')}"
            raise ScheduleError(f"{source}: the number of steps of an epoch is unknown; {fix}")
        value = math.floor(value * steps_per_epoch + 0.5)
    return int(value), source, unused


def _changed(settings: ScheduleSettings, keys: Sequence[str]) -> list[str]:
    defaults = ScheduleSettings(lr=1.0)
    return [key for key in keys if getattr(settings, key) != getattr(defaults, key)]


def _assignments(settings: ScheduleSettings, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(settings.assignment(key) for key in keys)


def _known(number: float | None) -> int | None:
    return int(number) if number is not None and 0 < number < math.inf else None
