"""Plots of plans, as PNG and in the terminal. matplotlib is imported when the first PNG is drawn."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle
from pathlib import Path
from typing import Any

from partoken.schedule.curve import WarmupCosine
from partoken.schedule.plan import Plan
from partoken.schedule.stages import StagedPlan

__all__ = ["FAMILIES", "mark_stages", "plot_applied", "plot_families", "plot_plans", "terminal_plot", "write_gallery"]

AnyPlan = Plan | StagedPlan

BLUE, ORANGE, GREY, INK = "#1f5f8b", "#d1603d", "#b9bec4", "#333333"
COLORS = (BLUE, ORANGE, "#8a9199", "#8fc1de", "#e0a458", "#4f8f6f", "#8a5a8f")

# For each library: its difference from this project, and the rate of step t as a factor of the peak, written with this
# project's curve c. Checked by running transformers 5.23.0 and timm 1.0.31, and by reading torchtitan 0.3.0
# (components/optimizer/lr_scheduler.py). nanoGPT (train.py, get_lr), NeMo, optax and Composer are as documented.
FAMILIES: dict[str, tuple[str, Callable[[WarmupCosine, int], float]]] = {
    "partoken, optax, Composer": ("step 0 at 0; held past the end", lambda c, t: c.factor(t)),
    "transformers, cosine": ("rises again past the end", lambda c, t: c.factor(_mirrored(c, t))),
    "torchtitan": ("begins a step ahead: two peaks", lambda c, t: c.factor(t + 1 if t < c.warmup else _mirrored(c, t))),
    "nanoGPT, NeMo": ("warm-up of one step more", lambda c, t: c.factor(max(t, (t + 1) * c.warmup / (c.warmup + 1)))),
    "transformers, warm-up and min lr": ("one step ahead throughout", lambda c, t: c.factor(_mirrored(c, t + 1))),
    "timm, by default": ("cosine from step 0: no peak", lambda c, t: _unshifted(c, t).factor(t)),
}


def terminal_plot(plan: AnyPlan, width: int = 64, height: int = 8) -> str:
    """Draws the rates of a plan over the run in block characters; a line below marks the beginnings of stages.

    >>> print(terminal_plot(Plan(interval="step", curve=WarmupCosine(2, 16), lr=1e-3), width=16, height=2))
    1.00e-03   ██▇▆▅▃▂
    0.00e+00  █████████▆▅▃▂▁
              step 0 to 16
    """
    times, highest = _times(plan, width)[:-1], _highest(plan)
    eighths = [round(8 * height * plan.rate(time) / highest) for time in times]
    labels = [f"{highest:.2e}", *[" " * 8] * (height - 2), f"{0:.2e}"]
    bars = ["".join(" ▁▂▃▄▅▆▇█"[min(max(n - 8 * row, 0), 8)] for n in eighths) for row in range(height)]
    lines = [f"{label} {bar.rstrip()}" for label, bar in zip(labels, reversed(bars), strict=True)]
    lines += [f"{'':9}{_stage_marks(plan, width)}"] if isinstance(plan, StagedPlan) else []
    return "\n".join([*lines, f"{'':9}{plan.interval} 0 to {plan.length:,}"])


def plot_plans(plans: Mapping[str, AnyPlan], path: Path, title: str) -> None:
    """Draws plans into one plot: several with their names, a single one with its key rates.

    Arguments:
        plans: by name, all in the same unit.
        path: the PNG file.
        title: of the plot.
    """
    first = next(iter(plans.values()))
    figure, axes = _figure(first.interval)
    for (label, plan), color in zip(plans.items(), cycle(COLORS), strict=False):
        _draw_stages(axes, plan, color=color, linewidth=2.2, label=label)
    axes.set(xlim=(0, first.length * 1.02), ylim=(0, max(map(_highest, plans.values())) * 1.12))
    axes.set_title("\n".join(textwrap.fill(part, 90) for part in title.split("; ")), fontsize=10)
    if len(plans) > 1:
        _add_legend(axes, len(plans))
    elif isinstance(first, StagedPlan):
        _shade_warmups(axes, first)
        mark_stages(axes, dict(zip((stage.stage for stage in first.plans), first.starts, strict=True)))
    elif first.curve is not None:
        _mark_key_rates(axes, first)
    figure.savefig(path, dpi=150, format="png")


def _draw_stages(axes: Any, plan: AnyPlan, *, label: str, **style: Any) -> None:
    """Draws each stage as a line of its own, so that a jump between two stages is a gap."""
    starts = plan.starts if isinstance(plan, StagedPlan) else [0]
    for stage, start in zip(plan.plans, starts, strict=True):
        begins = stage.curve.starts if stage.curve else ()
        times = sorted({*_times(stage, 500), *begins, *(math.nextafter(time, 0) for time in begins)})
        rates = [stage.rate(time) for time in times]
        axes.plot([start + time for time in times], rates, label=label, clip_on=False, **style)
        label = "_nolegend_"


def _shade_warmups(axes: Any, plan: StagedPlan) -> None:
    for stage, start in zip(plan.plans, plan.starts, strict=True):
        if stage.curve is not None:
            axes.axvspan(start, start + stage.curve.warmup, color=BLUE, alpha=0.09, linewidth=0)


def _mark_key_rates(axes: Any, plan: Plan) -> None:
    """Marks the warm-up, and writes the rates at its end, half-way and at the end."""
    assert plan.curve is not None
    axes.axvspan(0, plan.curve.warmup, color=BLUE, alpha=0.09, linewidth=0)
    for time in (plan.curve.warmup, max(plan.curve.warmup, plan.length / 2), plan.length):
        rate, is_end = plan.rate(time), time == plan.length
        axes.plot(time, rate, "o", color=BLUE, markersize=5, clip_on=False)
        offset, side = ((0, 9), "right") if is_end else ((7, 6), "left")
        axes.annotate(f"{rate:.2e}", (time, rate), offset, textcoords="offset points", ha=side, color=INK)


def plot_applied(
    rows: Sequence[Mapping[str, Any]],
    plans: AnyPlan | Mapping[str, AnyPlan],
    path: Path,
    bases: Mapping[int, float] | None = None,
    groups: Mapping[tuple[str, str], AnyPlan] | None = None,
) -> float:
    """Draws the applied rates over the planned rates, and returns the largest deviation.

    Parameter groups with the same rates share one line.

    Arguments:
        rows: `step, epoch, group, lr` of every optimizer step and parameter group, as in a run's `lr.csv`; with
            several optimizers also `optimizer`, with named groups also `name`.
        plans: the plan of the run, or the plan of each optimizer by its name.
        path: the PNG file.
        bases: peak of each group; by default the peak of the plan.
        groups: the plan of each named group, by its optimizer and its name; a group that is not here has the
            optimizer's.
    """
    by_name = plans if isinstance(plans, Mapping) else {"": plans}
    figure, axes = _figure("step")
    curves: dict[_Curve, list[tuple[str, str]]] = {}
    of_group: dict[tuple[str, int, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        of_group.setdefault((row.get("optimizer", ""), int(row["group"]), row.get("name", "")), []).append(row)
    for (name, number, group), own in sorted(of_group.items(), key=lambda item: item[0]):
        plan = (groups or {}).get((name, group), by_name[name])
        curve = _curve(own, plan, (bases or {}).get(number))
        curves.setdefault(curve, []).append((name, group or f"group {number}"))
    labels = _curve_labels(curves)
    for color, (curve, label) in zip(cycle(COLORS), labels.items(), strict=False):
        options = {"where": "post", "color": color}
        axes.step(curve.steps, curve.planned, alpha=0.3, linewidth=7, label=f"planned{label}", **options)
        axes.step(curve.steps, curve.applied, linewidth=1.4, label=f"applied{label}", **options)
    largest = max((curve.deviation for curve in curves), default=0.0)
    verdict = "planned = applied" if largest == 0 else f"applied differs from planned by up to {largest:.1e}"
    axes.set(title=f"Learning rate of every optimizer step: {verdict}", ylim=(0, None))
    _add_legend(axes, len(labels))
    mark_stages(axes, _step_starts(next(iter(by_name.values()))))
    figure.savefig(path, dpi=150, format="png")
    return largest


def _curve_labels(curves: Mapping["_Curve", Sequence[tuple[str, str]]]) -> dict["_Curve", str]:
    """Returns a label for each curve: nothing for the only one; otherwise its optimizer, with groups if they differ."""
    if len(curves) == 1:
        return dict.fromkeys(curves, "")
    labels = {}
    for curve, members in curves.items():
        parts = []
        for name in dict.fromkeys(name for name, _ in members):
            is_divided = sum(any(other == name for other, _ in groups) for groups in curves.values()) > 1
            groups = list(dict.fromkeys(group for other, group in members if other == name)) if is_divided else []
            parts.append(" ".join(word for word in (name or "optimizer" * (not groups), ", ".join(groups)) if word))
        labels[curve] = f", {', '.join(parts)}"
    return labels


def _add_legend(axes: Any, num_curves: int) -> None:
    """Adds the legend: inside the axes for one curve, below them for several."""
    if num_curves > 1:
        axes.figure.legend(frameon=False, loc="outside lower center", ncols=min(3, num_curves))
    else:
        axes.legend(frameon=False)


def mark_stages(axes: Any, starts: Mapping[str, float]) -> None:
    """Marks where the stages of a run begin, and writes their names along the marks.

    Arguments:
        axes: of matplotlib, with its limits set.
        starts: beginning of each stage on the horizontal axis, by its name, in order.
    """
    left, top = axes.get_xlim()[0], axes.get_ylim()[1]
    for number, (name, start) in enumerate(starts.items()):
        if number:
            axes.axvline(start, color=INK, linewidth=0.8, linestyle=":")
        place = {"rotation": 90, "ha": "left", "va": "top", "fontsize": "small", "color": INK}
        axes.annotate(name, (max(start, left), top), (3, -4), textcoords="offset points", **place)


def _step_starts(plan: AnyPlan) -> dict[str, float]:
    """Returns the optimizer step at which each stage of a plan begins; nothing if it has one stage or is not known."""
    steps = [stage.total_steps for stage in plan.plans]
    if len(steps) == 1 or None in steps:
        return {}
    starts = accumulate((number or 0 for number in steps[:-1]), initial=0)
    return dict(zip((stage.stage for stage in plan.plans), starts, strict=True))


@dataclass(frozen=True)
class _Curve:
    """The rates of a parameter group."""

    steps: tuple[int, ...]
    planned: tuple[float, ...]
    applied: tuple[float, ...]

    @property
    def deviation(self) -> float:
        return max((abs(a - b) for a, b in zip(self.applied, self.planned, strict=True)), default=0.0)


def _curve(rows: Sequence[Mapping[str, Any]], plan: AnyPlan, base: float | None) -> _Curve:
    times = [plan.time(int(row["step"]), int(row["epoch"])) for row in rows]
    return _Curve(
        steps=tuple(int(row["step"]) for row in rows),
        planned=tuple(plan.rate(time, base) for time in times),
        applied=tuple(float(row["lr"]) for row in rows),
    )


def plot_families(path: Path) -> None:
    """Draws the curve of this project beside the curves of well-known libraries, step by step."""
    figure, panels = _figure("step", rows=2, columns=3, size=(10.5, 6.2))
    curve, steps = WarmupCosine(4, 10), range(14)
    ours = [curve.factor(t) for t in steps]
    for axes, (name, (remark, family)) in zip(panels.flat, FAMILIES.items(), strict=True):
        theirs = [family(curve, t) for t in steps]
        axes.axvspan(10, 13.5, color=GREY, alpha=0.25, linewidth=0)
        axes.plot(steps, ours, color=GREY, linewidth=4)
        axes.plot(steps, theirs, "o-", color=BLUE if theirs == ours else ORANGE, linewidth=1.5, markersize=4)
        axes.set_title(f"{name}\n", fontweight="bold", loc="left", fontsize=11)
        axes.text(0, 1.04, remark, transform=axes.transAxes, color=INK)
        axes.set(ylim=(-0.02, 1.08), xlim=(-0.4, 13.5), xticks=range(0, 13, 2), ylabel="rate / peak")
    figure.suptitle("Warm-up of 4 steps in a run of 10, by library (grey: partoken; shaded: past the end)")
    figure.savefig(path, dpi=150, format="png")


def write_gallery(folder: Path) -> list[Path]:
    """Writes the plots of the Axion-Sat document under their names, and `lr_schedule_families.png`."""

    def plan(percent: int) -> Plan:
        return Plan(interval="step", curve=WarmupCosine(100 * percent, 10_000), lr=1e-3, min_lr=1e-6)

    folder.mkdir(parents=True, exist_ok=True)
    for name, percents in (("10pct_warmup", [10]), ("20pct_warmup", [20]), ("comparison", [0, 5, 10, 20, 30])):
        title = f"Warm-up over {', '.join(map(str, percents))} % of 10,000 steps, then cosine from 1e-3 to 1e-6"
        plot_plans({f"{n} % warm-up": plan(n) for n in percents}, folder / f"lr_schedule_{name}.png", title)
    plot_families(folder / "lr_schedule_families.png")
    return sorted(folder.glob("lr_schedule_*.png"))


def _mirrored(curve: WarmupCosine, time: int) -> float:
    """Returns the time before the end at which the curve has the value of an unclamped cosine at `time`."""
    return curve.total - abs(curve.total - time)


def _unshifted(curve: WarmupCosine, time: int) -> WarmupCosine:
    """Returns the curve, and after its warm-up a curve without warm-up."""
    return curve if time < curve.warmup else WarmupCosine(0, curve.total)


def _times(plan: AnyPlan, parts: int) -> list[float]:
    return [plan.length * i / parts for i in range(parts + 1)]


def _highest(plan: AnyPlan) -> float:
    """Returns the highest peak of the stages."""
    return max(stage.lr for stage in plan.plans)


def _stage_marks(plan: StagedPlan, width: int) -> str:
    """Returns a line that has `|` and the name at the beginning of each stage, as far as names have room."""
    columns = [round(width * start / plan.length) for start in plan.starts]
    line = ""
    for stage, column, end in zip(plan.plans, columns, [*columns[1:], width], strict=True):
        line = line.ljust(column) + f"|{stage.stage}"[: max(1, end - column)]
    return line


def _figure(unit: str, rows: int = 1, columns: int = 1, size: tuple[float, float] = (8, 4)) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlabel="optimizer step" if unit == "step" else "epoch", ylabel="learning rate")
        axes.grid(axis="y", color=GREY, alpha=0.3, linewidth=0.8)
        axes.margins(x=0.02)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return figure, panels if rows * columns > 1 else panels[0, 0]
