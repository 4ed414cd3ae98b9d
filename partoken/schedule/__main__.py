"""Shows the plan of a configuration before anything is trained.

    python -m partoken.schedule train.use_cosine_schedule=true train.epochs=50     the overrides of run_partoken.py
    python -m partoken.schedule OVERRIDES --png plan.png                           as a picture as well
    python -m partoken.schedule --gallery reports                                  the pictures of the documentation
    python -m partoken.schedule --table keypoints                                  its tables, as Markdown

With `train.schedule_interval=step` the data is opened to count its batches, unless --batches-per-epoch gives them.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.errors import UserError
from partoken.schedule.curve import ScheduleError, WarmupCosine
from partoken.schedule.plan import Plan, optimizer_steps, peak_rate, plan_from_config
from partoken.schedule.plot import plot_plans, terminal_plot, write_gallery

__all__ = ["main", "markdown", "table"]

TILES = 2000  # training tiles that the scenarios of the Axion-Sat document imply
SCENARIOS = {  # epochs, batch size, accumulation, warm-up steps, base rate, minimum
    "Stage 2 (low VRAM)": (20, 1, 8, 500, 1e-4, 1e-6),
    "Stage 2 (high VRAM)": (20, 8, 1, 500, 5e-4, 1e-6),
    "Fine-tuning": (10, 4, 2, 125, 1e-4, 1e-7),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for a user's mistake."""
    parser = argparse.ArgumentParser("python -m partoken.schedule", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # keeps the lines of __doc__
    parser.add_argument("overrides", nargs="*", help="as for run_partoken.py: key=value, group=option")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the plan")
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="write the pictures of the documentation")
    parser.add_argument("--table", choices=("keypoints", "scenarios"), help="print a table of the documentation")
    parser.add_argument("--batches-per-epoch", type=int, metavar="N", help="training batches on each device")
    options = parser.parse_intermixed_args(arguments)
    try:
        print("\n".join(_answer(options)))
    except (ScheduleError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def table(plan: Plan) -> list[tuple[str, ...]]:
    """Returns a header and a row for each key point of a plan; what is not known has no column.

    >>> plan = plan_from_config({"use_cosine_schedule": True, "lr": 0.1, "warmup_epochs": 2}, total_epochs=8)
    >>> for line in markdown(table(plan)):
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
    total, warmup, known = plan.length, plan.curve.warmup if plan.curve else 0, plan.steps_per_epoch
    phases = {total // 4: "quarter", total // 2: "half", 3 * total // 4: "three quarters"}
    phases |= {total - 1: f"last {plan.interval}", total: "end", warmup // 2: "mid warm-up", 0: "start", warmup: "peak"}
    rows = [("step", "epoch", "phase", "rate", "of the peak")]
    for time, phase in sorted(phases.items()) if plan.curve else [(0, "constant")]:
        step, epoch = (time, time / (known or 1)) if plan.interval == "step" else (time * (known or 0), time)
        rate = plan.rate(time)
        rows.append((f"{step:,}", f"{round(epoch, 2):,g}", phase, f"{rate:.2e}", f"{100 * rate / plan.lr:.3g} %"))
    unknown = None if known else "step" if plan.interval == "epoch" else "epoch"
    return [tuple(cell for cell, name in zip(row, rows[0], strict=True) if name != unknown) for row in rows]


def markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields the lines of a Markdown table that also reads well in a terminal; the first row is its header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in (rows[0], ["-" * width for width in widths], *rows[1:]):
        yield f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"


def _answer(options: argparse.Namespace) -> Iterator[str]:
    if options.table == "scenarios":
        return markdown(list(_scenarios()))
    if options.table == "keypoints":
        return markdown(table(Plan(interval="step", curve=WarmupCosine(1000, 10_000), lr=1e-3, min_lr=1e-6)))
    return map(str, write_gallery(options.gallery)) if options.gallery else _preview(options)


def _preview(options: argparse.Namespace) -> Iterator[str]:
    from omegaconf import OmegaConf

    from partoken.config import compose

    cfg = compose(options.overrides)
    train, trainer = (OmegaConf.to_container(cfg[group], resolve=True) for group in ("train", "trainer"))
    if train["scheduler"] is not None:
        raise UserError(f"train.scheduler={train['scheduler'].get('_target_')} has rates of its own, and no plan")
    devices = trainer["devices"] if isinstance(trainer["devices"], int) else 1
    world = max(1, devices) * trainer["num_nodes"]
    by_step = train["schedule_interval"] == "step" or trainer["max_steps"] != -1
    if (batches := options.batches_per_epoch) is None and by_step and train["use_cosine_schedule"]:
        batches = _count_batches(cfg.data, train, trainer, world)
    stages = train["stages"] or [{}]
    for number, stage in enumerate(stages, 1):
        lengths = _lengths(batches, trainer, stage.get("epochs", trainer["max_epochs"]))
        own = {**train, **stage}
        lr, scaled = peak_rate(own, train["batch_size"] * trainer["accumulate_grad_batches"] * world)
        plan = plan_from_config({**own, "lr": lr}, **lengths)
        name = f"stage {number} of {len(stages)}, " if len(stages) > 1 else ""
        yield f"{name}schedule by {plan.interval}: {plan.headline}"
        yield scaled and f"{scaled}\n"
        yield from markdown(table(plan))
        if plan.curve is not None:
            yield f"\n{terminal_plot(plan)}"
        yield from (f"advice: {sentence}" for sentence in plan.advice())
        if path := options.png:
            path = path.with_stem(f"{path.stem}_{number}") if len(stages) > 1 else path
            plot_plans({"": plan}, path, f"{name}{plan.headline}")
            yield str(path)


def _count_batches(data: Any, train: Mapping[str, Any], trainer: Mapping[str, Any], world: int) -> int | None:
    """Returns the training batches of an epoch on each device; None where the data cannot tell."""
    import hydra
    from hydra.errors import InstantiationException

    try:
        module = hydra.utils.instantiate(data, **{key: train[key] for key in ("batch_size", "num_workers", "seed")})
    except InstantiationException as error:
        raise UserError(f"data: {error.__cause__ or error}; --batches-per-epoch N does without") from None
    if not hasattr(module, "num_train_batches"):
        return None
    batches, limit = module.num_train_batches(world), trainer["overfit_batches"] or trainer["limit_train_batches"]
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _lengths(batches: int | None, trainer: Mapping[str, Any], epochs: int | None) -> dict[str, float | None]:
    """Returns the epochs and steps that the trainer will take, as `plan_from_config` wants them."""
    accumulate, max_steps = trainer["accumulate_grad_batches"], trainer["max_steps"]
    length = math.inf if epochs in (None, -1) else epochs
    if not batches:
        return {"total_epochs": length, "total_steps": max_steps if length == math.inf else None}
    steps, per_epoch = optimizer_steps(batches, accumulate, length, max_steps), optimizer_steps(batches, accumulate, 1)
    length = length if steps == math.inf else math.ceil(steps / per_epoch)
    return {"total_epochs": length, "total_steps": steps, "steps_per_epoch": per_epoch}


def _scenarios() -> Iterator[tuple[str, ...]]:
    yield "scenario", "epochs", "batch", "accumulation", "total steps", "warm-up", "base lr", "half-way", "min lr"
    for name, (epochs, batch, accumulate, warmup, lr, min_lr) in SCENARIOS.items():
        total = optimizer_steps(math.ceil(TILES / batch), accumulate, epochs)
        plan = Plan(interval="step", curve=WarmupCosine(warmup, total), lr=lr, min_lr=min_lr)
        rates = (f"{plan.rate(time):.2e}" for time in (warmup, total // 2, total))
        counts = f"{epochs}", f"{batch}", f"{accumulate}", f"{total:,}", f"{warmup} ({100 * warmup / total:g} %)"
        yield name, *counts, *rates


if __name__ == "__main__":
    sys.exit(main())
