"""Several plans in a row, and the one function that makes the plan of a run.

The preview, the check before the data is read, and the run itself call `plan_run`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Generic, Self, TypeVar

from partoken.schedule.curve import ScheduleError, Segments
from partoken.schedule.length import RunLength
from partoken.schedule.plan import Plan, make_plan
from partoken.schedule.settings import ScheduleSettings

__all__ = ["Stage", "StagedPlan", "needs_batches", "plan_groups", "plan_run", "read_fingerprint"]


JUMP = 2
"""Factor between the rates before and after the beginning of a stage from which it is called a jump."""

NEGLIGIBLE = 0.01
"""Fraction of the highest peak; a jump between two smaller rates is not mentioned."""

Settings = TypeVar("Settings", bound=ScheduleSettings)


@dataclass(frozen=True)
class Stage(Generic[Settings]):
    """One stage of a run: its settings and its length."""

    settings: Settings
    name: str = ""
    """Name in the configuration; "" if it has none."""
    epochs: int | None = None
    """Epochs of the stage, if they decide its length."""
    steps: int | None = None
    """Optimizer steps of the stage, if they decide its length."""

    @property
    def has_length(self) -> bool:
        """False: the run has no list of stages, and the trainer decides its length."""
        return self.epochs is not None or self.steps is not None

    def length(self, trainer: RunLength) -> RunLength:
        """Returns the length of the stage.

        Arguments:
            trainer: the length that the trainer alone decides; its `steps_per_epoch` and `done` are of this stage.
        """
        if not self.has_length:
            return trainer
        return RunLength.count(
            epochs=self.epochs, max_steps=self.steps, steps_per_epoch=trainer.steps_per_epoch, done=trainer.done
        )


def plan_run(
    stages: Sequence[Stage[Any]], length: RunLength | Sequence[RunLength], *, effective_batch: float = 1
) -> "Plan | StagedPlan":
    """Makes the plan of a run.

    Arguments:
        stages: of the run, in order; one without a length, or any number with.
        length: that the trainer alone decides; with several data sets, of each stage. Of stages with a length only its
            `steps_per_epoch` is used.
        effective_batch: samples of one optimizer step, over all devices.

    Raises:
        ScheduleError: naming the stage, the keys, what was found, what is allowed and the fix.

    >>> stages = [Stage(ScheduleSettings(lr=0.1), "first", 2), Stage(ScheduleSettings(lr=0.01), "second", 3)]
    >>> plan = plan_run(stages, RunLength(total_epochs=None, total_steps=None, steps_per_epoch=10))
    >>> [plan.rate(epoch) for epoch in range(5)], plan.total_steps
    ([0.1, 0.1, 0.01, 0.01, 0.01], 50)
    """
    lengths = [length] * len(stages) if isinstance(length, RunLength) else list(length)
    plans = []
    for stage, trainer in zip(stages, lengths, strict=True):
        for limit in ("max_steps", "max_time") if stage.has_length else ():
            if getattr(trainer, limit) is not None:
                found = f"trainer.{limit}={getattr(trainer, limit)}"
                raise ScheduleError(f"{found}: the stages of train.stages have lengths of their own; leave it out")
        try:
            plan = make_plan(stage.settings, stage.length(trainer), effective_batch=effective_batch)
        except ScheduleError as error:
            raise ScheduleError(f"stage {stage.name}: {error}" if stage.name else str(error)) from None
        plans.append(replace(plan, stage=stage.name))
    return plans[0] if len(plans) == 1 else StagedPlan(tuple(plans))


def plan_groups(
    stages: Sequence[Stage[Any]], length: RunLength | Sequence[RunLength], *, effective_batch: float = 1
) -> "dict[str, Plan | StagedPlan]":
    """Makes the plan of each group of parameters, by its name: `plan_run` with the settings of the group.

    In a stage without the group, its parameters follow the plan of the stage.

    Arguments:
        stages: as for `plan_run`; `parameter_groups` of their settings returns the groups with their `name` and
            `settings`.
        length: as for `plan_run`.
        effective_batch: as for `plan_run`.

    Raises:
        ScheduleError: as `plan_run`.
    """
    of_stages = [{group.name: group.settings for group in stage.settings.parameter_groups()} for stage in stages]
    plans = {}
    for name in dict.fromkeys(name for groups in of_stages for name in groups):
        own = [
            replace(stage, settings=groups.get(name, stage.settings))
            for stage, groups in zip(stages, of_stages, strict=True)
        ]
        plans[name] = plan_run(own, length, effective_batch=effective_batch)
    return plans


def needs_batches(stages: Sequence[Stage[Any]], max_steps: int | None) -> bool:
    """Returns whether `plan_run` needs to know the number of batches of an epoch."""
    by_step = any(stage.settings.schedule_interval == "step" for stage in stages)
    ends_by_step = max_steps is not None or any(stage.steps is not None for stage in stages)
    if len(stages) > 1:
        return by_step or ends_by_step
    return stages[0].settings.moves and (by_step or ends_by_step)


@dataclass(frozen=True, eq=False)
class StagedPlan:
    """The plan that follows the plans of its stages, each from its own beginning. It is used like a `Plan`.

    A parameter group whose peak is a fraction of the first stage's peak has the same fraction in every stage.

    Raises:
        ScheduleError: stages of different units, or of unknown length.

    >>> stages = StagedPlan((Plan(interval="epoch", curve=None, lr=0.1, total_epochs=2, total_steps=20),
    ...                      Plan(interval="epoch", curve=None, lr=0.01, total_epochs=3, total_steps=30)))
    >>> [stages.rate(time) for time in range(5)]
    [0.1, 0.1, 0.01, 0.01, 0.01]
    """

    plans: tuple[Plan, ...]
    """The plans of the stages in order, all by epoch or all by step."""

    def __post_init__(self) -> None:
        named = (replace(plan, stage=plan.stage or str(number)) for number, plan in enumerate(self.plans, 1))
        object.__setattr__(self, "plans", tuple(named))
        if len({plan.interval for plan in self.plans}) > 1:
            raise ScheduleError("train.stages: all stages need the same train.schedule_interval")
        if any(length is None for length in self._lengths()):
            raise ScheduleError(
                "train.stages: a stage needs a length; the training data has no known number of batches"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StagedPlan) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def interval(self) -> str:
        """Unit of the time: "epoch" or "step" (optimizer steps)."""
        return self.plans[0].interval

    @property
    def starts(self) -> list[int]:
        """Beginning of each stage, in the plan's unit."""
        return [0, *accumulate(length or 0 for length in self._lengths()[:-1])]

    @property
    def lr(self) -> float:
        """Peak rate of the first stage."""
        return self.plans[0].lr

    @property
    def min_lr(self) -> float:
        """Smallest minimum of all stages; every parameter group must be able to fall to it."""
        return min(plan.min_lr for plan in self.plans)

    @property
    def total_epochs(self) -> int | None:
        """Epochs of all stages together; None: unknown."""
        return _sum(plan.total_epochs for plan in self.plans)

    @property
    def total_steps(self) -> int | None:
        """Optimizer steps of all stages together; None: unknown."""
        return _sum(plan.total_steps for plan in self.plans)

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps of a whole epoch; None: unknown."""
        return self.plans[0].steps_per_epoch

    @property
    def length(self) -> float:
        """End of the run in the plan's unit."""
        return sum(length or 0 for length in self._lengths())

    @property
    def scaling(self) -> str:
        """How `train.lr_scaling` changed the peaks, one sentence per stage; "" if it did not."""
        return "; ".join(plan.scaling for plan in self.plans if plan.scaling)

    def time(self, step: int, epoch: int) -> int:
        """Returns the time at an optimizer step and its epoch, both counted from 0."""
        return step if self.interval == "step" else epoch

    def factor(self, time: float, base: float) -> float:
        """Returns the rate at `time` of a group whose peak in the first stage is `base`, as a factor of `base`."""
        return self.rate(time, base) / base

    def check(self, base: float) -> None:
        """Rejects a parameter group whose peak in the first stage is `base` if it cannot follow a stage.

        Raises:
            ScheduleError: naming the minimum or the segment.
        """
        if self.min_lr > base:
            raise ScheduleError(f"the minimum {self.min_lr:g} is above a parameter group's rate, {base:g}")
        for plan in self.plans:
            if isinstance(plan.curve, Segments):
                plan.check(plan.lr * base / self.lr)

    def rate(self, time: float, base: float | None = None) -> float:
        """Returns the rate at `time`, counted from the beginning of the run, of a group.

        Arguments:
            time: in the plan's unit.
            base: the group's peak in the first stage; None: `lr`.
        """
        fraction = 1.0 if base is None else base / self.lr
        for plan, length in self._key()[:-1]:
            if time < length:
                return plan.rate(time, plan.lr * fraction)
            time -= length
        return self.plans[-1].rate(time, self.plans[-1].lr * fraction)

    @property
    def headline(self) -> str:
        """The plans of the stages on one line."""
        return "; ".join(f"stage {plan.stage}, {plan.headline}" for plan in self.plans)

    def advice(self) -> list[str]:
        """Returns a sentence for each choice of a stage that is known to hurt, and for each jump between stages."""
        own = [f"stage {plan.stage}: {advice}" for plan in self.plans for advice in plan.advice()]
        return own + [sentence for start in self.starts[1:] if (sentence := self._advice_on_joint(start))]

    def _advice_on_joint(self, start: int) -> str:
        """Returns a sentence about a rate that jumps where a stage begins; "" if it does not."""
        before, after = self.rate(start - 1), self.rate(start)
        low, high = sorted((before, after))
        if high <= JUMP * low or high < NEGLIGIBLE * max(plan.lr for plan in self.plans):
            return ""
        stage = self.plans[self.starts.index(start)].stage
        return f"the rate jumps from {before:.2e} to {after:.2e} where stage {stage} begins"

    def fingerprint(self) -> dict[str, Any]:
        """Returns the plan as plain numbers and strings, for a checkpoint or a JSON file."""
        return {"stages": [plan.fingerprint() for plan in self.plans]}

    @classmethod
    def from_fingerprint(cls, fingerprint: Mapping[str, Any]) -> Self:
        """Creates the plan that `fingerprint` returned.

        Raises:
            ScheduleError: it is not the fingerprint of a plan of several stages.
        """
        if "stages" not in fingerprint:
            raise ScheduleError(f"{fingerprint!r} is no fingerprint of a schedule of several stages")
        return cls(tuple(map(Plan.from_fingerprint, fingerprint["stages"])))

    def _lengths(self) -> list[int | None]:
        if self.interval == "step":
            return [plan.total_steps for plan in self.plans]
        return [plan.total_epochs for plan in self.plans]

    def _key(self) -> tuple[tuple[Plan, int], ...]:
        """Returns each plan with its length, which decides when the next one begins."""
        return tuple((plan, length or 0) for plan, length in zip(self.plans, self._lengths(), strict=True))


def read_fingerprint(fingerprint: Mapping[str, Any]) -> Plan | StagedPlan:
    """Creates the plan, of one stage or several, from its fingerprint.

    Raises:
        ScheduleError: it is not the fingerprint of a plan.
    """
    return (StagedPlan if "stages" in fingerprint else Plan).from_fingerprint(fingerprint)


def _sum(numbers: Any) -> int | None:
    known = list(numbers)
    return None if None in known else sum(known)
