"""Several plans in a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from partoken.schedule.curve import ScheduleError
from partoken.schedule.plan import Plan

__all__ = ["StagedPlan", "read_fingerprint"]


@dataclass(frozen=True, eq=False)
class StagedPlan:
    """Creates the plan that follows the plans of its stages, each from its own beginning.

    It is used as a `Plan` is. A group whose peak is some share of the first stage's has that share of every stage's.

    Arguments:
        plans: of the stages in order, all by epoch or all by step, their lengths known.

    Raises:
        ScheduleError: stages of different units, or of unknown length.

    >>> stages = StagedPlan((Plan(interval="epoch", curve=None, lr=0.1, total_epochs=2, total_steps=20),
    ...                      Plan(interval="epoch", curve=None, lr=0.01, total_epochs=3, total_steps=30)))
    >>> [stages.rate(time) for time in range(5)]
    [0.1, 0.1, 0.01, 0.01, 0.01]
    """

    plans: tuple[Plan, ...]

    def __post_init__(self) -> None:
        units = sorted({plan.interval for plan in self.plans})
        if len(units) > 1:
            raise ScheduleError("train.stages: every stage moves by train.schedule_interval, set it for all of them")
        if any(plan.total_epochs is None or plan.total_steps is None for plan in self.plans):
            raise ScheduleError(
                "train.stages: a stage needs a length; the training data has no known number of batches"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StagedPlan) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def interval(self) -> str:
        return self.plans[0].interval

    @property
    def lr(self) -> float:
        return self.plans[0].lr

    @property
    def min_lr(self) -> float:
        """The least minimum, to which every group must be able to fall."""
        return min(plan.min_lr for plan in self.plans)

    @property
    def total_epochs(self) -> int:
        return sum(plan.total_epochs for plan in self.plans)

    @property
    def total_steps(self) -> int:
        return sum(plan.total_steps for plan in self.plans)

    def time(self, step: int, epoch: int) -> int:
        return step if self.interval == "step" else epoch

    def factor(self, time: float, base: float) -> float:
        return self.rate(time, base) / base

    def rate(self, time: float, base: float | None = None) -> float:
        """Returns the rate of a group whose peak in the first stage is `base`, at a time since the run began."""
        share = 1.0 if base is None else base / self.lr
        for plan, length in self._key()[:-1]:
            if time < length:
                return plan.rate(time, plan.lr * share)
            time -= length
        return self.plans[-1].rate(time, self.plans[-1].lr * share)

    @property
    def headline(self) -> str:
        named = (f"stage {number}, {plan.headline}" for number, plan in enumerate(self.plans, 1))
        return "; ".join(named)

    def advice(self) -> list[str]:
        return [f"stage {number}: {advice}" for number, plan in enumerate(self.plans, 1) for advice in plan.advice()]

    def fingerprint(self) -> dict[str, Any]:
        return {"stages": [plan.fingerprint() for plan in self.plans]}

    @classmethod
    def from_fingerprint(cls, fingerprint: Mapping[str, Any]) -> "StagedPlan":
        """Creates the plan that left a fingerprint.

        Raises:
            ScheduleError: this is no fingerprint of a plan of several stages.
        """
        if "stages" not in fingerprint:
            raise ScheduleError(f"{fingerprint!r} is no fingerprint of a schedule of several stages")
        return cls(tuple(map(Plan.from_fingerprint, fingerprint["stages"])))

    def _key(self) -> tuple[tuple[Plan, int], ...]:
        """Returns each stage with its length, which decides when the next one begins."""
        return tuple((p, p.total_steps if self.interval == "step" else p.total_epochs) for p in self.plans)


def read_fingerprint(fingerprint: Mapping[str, Any]) -> "Plan | StagedPlan":
    """Creates the plan, of one stage or several, that left a fingerprint.

    Raises:
        ScheduleError: this is no fingerprint of a plan.
    """
    return (StagedPlan if "stages" in fingerprint else Plan).from_fingerprint(fingerprint)
