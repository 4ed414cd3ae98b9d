"""The plan of a fork: a run that goes on from a checkpoint of another run, its trunk, with segments of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from partoken.schedule.curve import ScheduleError, Segments
from partoken.schedule.extending import count
from partoken.schedule.grammar import read_fork
from partoken.schedule.plan import Plan
from partoken.schedule.segment import Segment
from partoken.schedule.settings import ScheduleSettings
from partoken.schedule.stages import StagedPlan

__all__ = ["fork_plan", "fork_plans", "forked_at"]


def forked_at(plan: Plan) -> int:
    """Returns the time at which a fork has left its trunk, in the unit of its plan; 0: the run is no fork."""
    return int(plan.curve.forked_at) if isinstance(plan.curve, Segments) and plan.curve.inherited else 0


def fork_plan(
    saved: Plan, settings: ScheduleSettings, *, step: int, epoch: int, steps_per_epoch: int | None = None
) -> Plan:
    """Makes the plan of a fork: the rates of the trunk up to the checkpoint, then the segments of the fork.

    The peak of every parameter group is that of the trunk, so the fork begins with the rate that the trunk would have
    had next. A fork moves by optimizer step, unless the rate of its trunk moved by epoch.

    Arguments:
        saved: the plan in the checkpoint, of the trunk or of the fork itself, which goes on.
        settings: those of the fork; `segments` are read.
        step: optimizer steps in the checkpoint.
        epoch: whole epochs in the checkpoint.
        steps_per_epoch: optimizer steps of an epoch, for lengths in epochs; None: unknown.

    Raises:
        ScheduleError: the segments do not fit the checkpoint, or it is of another fork.

    >>> done, cooldown = {"length": "done"}, {"length": "40%", "shape": "linear", "to": 0}
    >>> settings = ScheduleSettings(lr=1.0, schedule={"segments": [done, cooldown]})
    >>> plan = fork_plan(Plan(interval="epoch", curve=None, lr=0.1), settings, step=10, epoch=2)
    >>> [round(plan.rate(time), 3) for time in range(8, 15)]
    [0.1, 0.1, 0.1, 0.075, 0.05, 0.025, 0.0]
    """
    goes_on = forked_at(saved)
    unit = "step" if saved.curve is None else saved.interval
    at = goes_on or (step if unit == "step" else epoch)
    if at == 0:
        raise ScheduleError(f"{settings.segments_key}: the checkpoint has no whole {unit}, so there is nothing to fork")
    trunk = (Segment(at, "constant", 1.0),) if saved.curve is None else saved.curve.until(at)
    own, keys = read_fork(settings.segments, at, unit, steps_per_epoch, settings.segments_key)
    curve = Segments((*trunk, *own), len(trunk))
    plan = replace(saved, interval=unit, curve=curve, unused=(), scaling="")
    plan.check(plan.lr, (*[""] * len(trunk), *keys))
    if plan.rate(at) == 0:
        raise ScheduleError(
            f"{settings.segments_key}: the rate of the checkpoint is 0 at {unit} {at:,}, so the fork would learn "
            "nothing; fork an earlier checkpoint"
        )
    if goes_on and plan != saved:
        raise ScheduleError(
            f"the checkpoint is of a fork that left its trunk at {unit} {at:,} and goes on for "
            f"{count(saved.length - at, unit)}: {saved.headline}. Ask for the same schedule, or fork the trunk"
        )
    return plan


def fork_plans(
    saved: Mapping[str, Any], settings: ScheduleSettings, steps_per_epoch: int | None
) -> dict[str, dict[str, Plan | StagedPlan]]:
    """Makes the plans of a fork before it runs: of each optimizer, by its name, and in it of each group.

    Arguments:
        saved: what a checkpoint holds of the schedule, under `partoken_schedule`.
        settings, steps_per_epoch: see `fork_plan`.

    Raises:
        ScheduleError: the checkpoint has no plan, or as `fork_plan`.
    """
    optimizers = saved.get("optimizers") or {"": saved}
    plans: dict[str, dict[str, Plan | StagedPlan]] = {}
    for name, own in optimizers.items():
        time = {"step": own["step"], "epoch": saved.get("epoch", 0), "steps_per_epoch": steps_per_epoch}
        of_groups = {"": own["plan"], **own.get("groups", {})}
        plans[name] = {
            group: fork_plan(Plan.from_fingerprint(plan or {}), settings, **time) for group, plan in of_groups.items()
        }
    return plans
