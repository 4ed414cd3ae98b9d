"""The rates of whole plans: as arrays, as CSV, and as a table of the area under each of several plans."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from partoken.schedule.plan import Plan
from partoken.schedule.stages import StagedPlan

if TYPE_CHECKING:
    import numpy as np

__all__ = ["area_table", "areas", "csv_lines", "rates"]

AnyPlan = Plan | StagedPlan


def rates(plan: AnyPlan) -> "np.ndarray":
    """Returns the rate of every step or epoch of a plan, `[length]`, float64.

    >>> from partoken.schedule import WarmupCosine
    >>> rates(Plan(interval="step", curve=WarmupCosine(2, 4), lr=0.1)).tolist()
    [0.0, 0.05, 0.1, 0.05]
    """
    import numpy as np  # a preview needs none

    listed = []
    for stage in plan.plans:
        times = np.arange(int(stage.length))
        curve = stage.curve
        listed.append(np.full(len(times), stage.lr) if curve is None else curve.rate(times, stage.lr, stage.min_lr))
    return np.concatenate(listed)


def areas(plans: Mapping[str, AnyPlan]) -> dict[str, float]:
    """Returns the sum of the rates of each plan, by its name: two runs with one sum have moved about as far."""
    return {name: float(rates(plan).sum()) for name, plan in plans.items()}


def area_table(plans: Mapping[str, AnyPlan]) -> list[tuple[str, ...]]:
    """Returns a header, and a row for each plan: its area, its share of a constant rate, and its last rate."""
    unit = next(iter(plans.values())).interval
    rows: list[tuple[str, ...]] = [("schedule", f"{unit}s", "sum of the rates", "of a constant rate", f"last {unit}")]
    for name, plan in plans.items():
        listed = rates(plan)
        highest = max(stage.lr for stage in plan.plans)
        share = f"{100 * listed.sum() / (highest * len(listed)):.1f} %"
        rows.append((name, f"{len(listed):,}", f"{listed.sum():.3e}", share, f"{listed[-1]:.2e}"))
    return rows


def csv_lines(plans: Mapping[str, AnyPlan]) -> Iterator[str]:
    """Yields a header and a line for each step or epoch: the rate of each plan, empty past its end."""
    unit = next(iter(plans.values())).interval
    columns = [rates(plan).tolist() for plan in plans.values()]
    yield ",".join([unit, *(name or "lr" for name in plans)])
    for time in range(max(map(len, columns))):
        yield ",".join([str(time), *(repr(column[time]) if time < len(column) else "" for column in columns)])
