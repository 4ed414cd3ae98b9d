"""How the learning rate moves: warm-up and cosine, or any list of segments.

`python -m partoken.schedule` shows a plan before it runs.

The schedulers import torch on first use; a plan is made and shown without it.
"""

from typing import Any

from partoken.schedule.curve import Curve, ScheduleError, Segment, Segments, WarmupCosine
from partoken.schedule.fork import fork_plan
from partoken.schedule.grammar import segments
from partoken.schedule.length import RunLength, optimizer_steps
from partoken.schedule.plan import Plan, explain_change, make_plan, peak_rate, plan_from_config
from partoken.schedule.settings import ScheduleSettings
from partoken.schedule.stages import Stage, StagedPlan, plan_groups, plan_run, read_fingerprint

__all__ = ["CosineAnnealingWarmupEpochLR", "CosineAnnealingWarmupLR", "PlanLR", "get_cosine_schedule_with_warmup"]
__all__ += ["Plan", "RunLength", "ScheduleError", "ScheduleSettings", "Stage", "StagedPlan", "WarmupCosine"]
__all__ += ["Curve", "Segment", "Segments", "segments"]
__all__ += [
    "explain_change",
    "fork_plan",
    "make_plan",
    "optimizer_steps",
    "peak_rate",
    "plan_from_config",
    "plan_groups",
    "plan_run",
]
__all__ += ["read_fingerprint"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from partoken.schedule import lr

    return getattr(lr, name)
