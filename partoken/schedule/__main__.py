"""Shows the plan of a configuration before anything is trained.

    python -m partoken.schedule train.use_cosine_schedule=true train.epochs=50     the overrides of a run
    python -m partoken.schedule OVERRIDES --png plan.png                           as a picture as well
    python -m partoken.schedule --gallery reports                                  the pictures of the documentation
    python -m partoken.schedule --table keypoints                                  its tables, as Markdown

`partoken preview` is the same command.

With `train.schedule_interval=step` the data is opened to count its batches, unless --batches-per-epoch is given.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from partoken.errors import UserError
from partoken.schedule.length import RunLength, accumulated_batches, num_devices
from partoken.schedule.plan import Plan
from partoken.schedule.plot import plot_plans, terminal_plot, write_gallery
from partoken.schedule.stages import needs_batches, plan_run
from partoken.schedule.tables import document_keypoints, document_scenarios, key_points, markdown

__all__ = ["main"]

TABLES = {"keypoints": document_keypoints, "scenarios": document_scenarios}


def main(arguments: Sequence[str] | None = None, program: str = "python -m partoken.schedule") -> int:
    """Runs the command; returns its exit status, 2 for a user error."""
    parser = argparse.ArgumentParser(program, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # keeps the lines of __doc__
    parser.add_argument("overrides", nargs="*", help="as for partoken train: key=value, group=option")
    parser.add_argument("--config-dir", "-cd", type=Path, metavar="DIR", help="a folder with more YAML files")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the plan")
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="write the pictures of the documentation")
    parser.add_argument("--table", choices=TABLES, help="print a table of the documentation")
    parser.add_argument("--batches-per-epoch", type=int, metavar="N", help="training batches on each device")
    options = parser.parse_intermixed_args(arguments)
    try:
        print("\n".join(_answer(options)))
    except UserError as error:
        message = str(error)
    except BrokenPipeError:  # the reader, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    else:
        return 0
    print(f"error: {message}", file=sys.stderr)
    return 2


def _answer(options: argparse.Namespace) -> Iterator[str]:
    if options.table:
        return markdown(TABLES[options.table]())
    if options.gallery:
        return map(str, write_gallery(options.gallery))
    return _preview(options)


def _preview(options: argparse.Namespace) -> Iterator[str]:
    from partoken.config import compose, instantiate, plain_group

    if options.batches_per_epoch is not None and options.batches_per_epoch < 1:
        raise UserError(f"--batches-per-epoch={options.batches_per_epoch}: must be 1 or more")
    cfg = compose(tuple(options.overrides), options.config_dir)
    trainer = plain_group(cfg, "trainer")
    settings = instantiate(plain_group(cfg, "train"), "train")
    devices, accumulate = num_devices(trainer), accumulated_batches(trainer)
    length = RunLength.of_trainer(trainer, options.batches_per_epoch)
    if settings.scheduler is not None:
        yield f"schedule of {settings.scheduler['_target_']}: no plan; a run records its rates in lr.csv"
        return
    names = list(settings.optimizers or [""])
    if options.batches_per_epoch is None and any(
        needs_batches(settings.run_stages(name), length.max_steps) for name in names
    ):
        length = RunLength.of_trainer(trainer, _count_batches(plain_group(cfg, "data"), settings, devices))
    for name in names:
        plan = plan_run(settings.run_stages(name), length, effective_batch=settings.batch_size * accumulate * devices)
        for number, stage in enumerate(plan.plans, 1):
            place = [f"optimizer {name}"] if name else []
            place += [f"stage {number} of {len(plan.plans)}"] if len(plan.plans) > 1 else []
            yield from _show(stage, ", ".join(place), _picture(options.png, name, number, len(plan.plans)))


def _show(plan: Plan, place: str, picture: Path | None) -> Iterator[str]:
    """Yields the lines about the plan of one stage, and draws it."""
    title = f"{place}, schedule by {plan.interval}" if place else f"schedule by {plan.interval}"
    yield f"{title}: {plan.headline}"
    yield f"{plan.scaling}\n" if plan.scaling else ""
    yield from markdown(key_points(plan))
    if plan.curve is not None:
        yield f"\n{terminal_plot(plan)}"
    yield from (f"advice: {sentence}" for sentence in plan.advice())
    if picture is not None:
        plot_plans({"": plan}, picture, f"{place}, {plan.headline}" if place else plan.headline)
        yield str(picture)


def _picture(path: Path | None, name: str, number: int, num_stages: int) -> Path | None:
    """Returns the file of one stage's picture."""
    if path is None:
        return None
    parts = [path.stem, *([name] if name else []), *([str(number)] if num_stages > 1 else [])]
    return path.with_stem("_".join(parts))


def _count_batches(group: dict[str, Any], settings: Any, devices: int) -> int | None:
    """Returns the training batches of an epoch on each device; None if the data does not know them."""
    from partoken.config import instantiate

    loading = {"batch_size": settings.batch_size, "num_workers": settings.num_workers, "seed": settings.seed}
    try:
        batches: int | None = instantiate(group, "data", **loading).num_train_batches(devices)
    except UserError as error:
        raise UserError(f"{error}; --batches-per-epoch N previews without the data") from None
    return batches


if __name__ == "__main__":
    sys.exit(main())
