"""Plans as tables of text."""

import math
from collections.abc import Iterator, Sequence

from partoken.schedule.curve import Segments, WarmupCosine
from partoken.schedule.length import optimizer_steps
from partoken.schedule.plan import Plan
from partoken.schedule.stages import StagedPlan

__all__ = ["document_keypoints", "document_scenarios", "key_points", "markdown"]

TILES = 2000
"""Training tiles that the scenarios of the Axion-Sat document imply."""

SCENARIOS = {  # epochs, batch size, accumulation, warm-up steps, base rate, minimum
    "Stage 2 (low VRAM)": (20, 1, 8, 500, 1e-4, 1e-6),
    "Stage 2 (high VRAM)": (20, 8, 1, 500, 5e-4, 1e-6),
    "Fine-tuning": (10, 4, 2, 125, 1e-4, 1e-7),
}


def key_points(plan: Plan | StagedPlan) -> list[tuple[str, ...]]:
    """Returns a header, and a row for each key point of a plan; an unknown unit of time has no column.

    A plan of several stages has a column for the stage. Its times count from the beginning of the run.

    >>> curve = WarmupCosine(warmup=2, total=8, warmup_floor=1e-6)
    >>> for line in markdown(key_points(Plan(interval="epoch", curve=curve, lr=0.1))):
    ...     print(line)
    | epoch | phase          | rate     | of the peak |
    | ----- | -------------- | -------- | ----------- |
    | 0     | start          | 1.00e-07 | 0.0001 %    |
    | 1     | mid warm-up    | 5.00e-02 | 50 %        |
    | 2     | peak           | 1.00e-01 | 100 %       |
    | 4     | half           | 7.50e-02 | 75 %        |
    | 6     | three quarters | 2.50e-02 | 25 %        |
    | 7     | last epoch     | 6.70e-03 | 6.7 %       |
    | 8     | end            | 0.00e+00 | 0 %         |
    """
    header = ("stage", "step", "epoch", "phase", "rate", "of the peak")
    rows: list[tuple[str, ...]] = [header]
    starts = plan.starts if isinstance(plan, StagedPlan) else [0]
    for stage, start in zip(plan.plans, starts, strict=True):
        rows += _stage_rows(stage, start)
    hidden = set() if isinstance(plan, StagedPlan) else {"stage"}
    if not plan.steps_per_epoch:
        hidden.add("step" if plan.interval == "epoch" else "epoch")
    places = [place for place, name in enumerate(header) if name not in hidden]
    return [tuple(row[place] for place in places) for row in rows]


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields the lines of a Markdown table that also reads well in a terminal; the first row is its header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in (rows[0], ["-" * width for width in widths], *rows[1:]):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"| {' | '.join(cells)} |"


def document_keypoints() -> list[tuple[str, ...]]:
    """Returns the table of the Axion-Sat document: 10,000 steps, 1,000 of them warm-up, from 1e-3 to 1e-6."""
    return key_points(Plan(interval="step", curve=WarmupCosine(1000, 10_000), lr=1e-3, min_lr=1e-6))


def document_scenarios() -> list[tuple[str, ...]]:
    """Returns the scenarios of the Axion-Sat document, with the optimizer steps that are really taken."""
    counts_header = ("epochs", "batch", "accumulation", "total steps", "warm-up")
    rows: list[tuple[str, ...]] = [("scenario", *counts_header, "base lr", "half-way", "min lr")]
    for name, (epochs, batch, accumulate, warmup, lr, min_lr) in SCENARIOS.items():
        total = int(optimizer_steps(math.ceil(TILES / batch), accumulate, epochs))
        plan = Plan(interval="step", curve=WarmupCosine(warmup, total), lr=lr, min_lr=min_lr)
        counts = (f"{epochs}", f"{batch}", f"{accumulate}", f"{total:,}", f"{warmup} ({100 * warmup / total:g} %)")
        rates = (f"{plan.rate(time):.2e}" for time in (warmup, total // 2, total))
        rows.append((name, *counts, *rates))
    return rows


def _stage_rows(plan: Plan, start: int) -> Iterator[tuple[str, ...]]:
    """Yields the key points of one stage; times count from `start`, in the plan's unit."""
    per_epoch = plan.steps_per_epoch
    for time, phase in _phases(plan):
        passed = start + time
        step = passed if plan.interval == "step" else passed * (per_epoch or 0)
        epoch = passed / (per_epoch or 1) if plan.interval == "step" else passed
        rate = plan.rate(time)
        times = f"{step:,}", f"{round(epoch, 2):,g}"
        yield plan.stage, *times, phase, f"{rate:.2e}", f"{100 * rate / plan.lr:.3g} %"


def _phases(plan: Plan) -> list[tuple[int, str]]:
    """Returns the key points of a plan in order; one of two at the same time is kept."""
    if plan.curve is None:
        return [(0, "constant")]
    total, warmup = int(plan.length), int(plan.curve.warmup)
    if isinstance(plan.curve, Segments):
        return _segment_phases(plan.curve, plan.interval)
    phases = {total // 4: "quarter", total // 2: "half", 3 * total // 4: "three quarters"}
    phases |= {total - 1: f"last {plan.interval}", total: "end"}
    phases |= {warmup // 2: "mid warm-up", 0: "start", warmup: "peak"}
    return sorted(phases.items())


def _segment_phases(curve: Segments, unit: str) -> list[tuple[int, str]]:
    """Returns the times at which segments begin, and the middle of those that move."""
    total, phases = int(curve.total), {0: "start of the trunk"} if curve.inherited else {}
    for begins, segment in list(zip(curve.starts, curve.segments, strict=True))[curve.inherited :]:
        phases[int(begins)] = segment.shape
        if segment.shape != "constant" and segment.length > 2:
            phases[int(begins + segment.length / 2)] = f"mid {segment.shape}"
    phases |= {total - 1: f"last {unit}", total: "end"}
    return sorted(phases.items())
