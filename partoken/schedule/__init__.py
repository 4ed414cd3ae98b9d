"""How the learning rate moves: linear warm-up, then cosine. `python -m partoken.schedule` shows a plan before it runs.

The schedulers load torch on first use; a plan is made and shown without it.
"""

from typing import Any

from partoken.schedule.curve import ScheduleError, WarmupCosine
from partoken.schedule.plan import Plan, explain_change, optimizer_steps, peak_rate, plan_from_config

__all__ = ["CosineAnnealingWarmupEpochLR", "CosineAnnealingWarmupLR", "PlanLR", "get_cosine_schedule_with_warmup"]
__all__ += ["Plan", "ScheduleError", "WarmupCosine"]
__all__ += ["explain_change", "optimizer_steps", "peak_rate", "plan_from_config"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from partoken.schedule import lr

    return getattr(lr, name)
