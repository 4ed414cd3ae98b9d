"""Shows the plan of a configuration before anything is trained.

    python -m partoken.schedule train.use_cosine_schedule=true train.epochs=50     the overrides of a run
    python -m partoken.schedule OVERRIDES --png plan.png                           as a picture as well
    python -m partoken.schedule --gallery reports                                  the pictures of the documentation
    python -m partoken.schedule --table keypoints                                  its tables, as Markdown

`partoken preview` is the same command.

With `train.schedule_interval=step`, or to resume, the data is opened to count its batches, unless --batches-per-epoch
is given. Other keys than those of the schedule are checked as in a run, which imports torch.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from partoken.errors import UserError, print_error
from partoken.schedule.length import RunLength, accumulated_batches, num_devices
from partoken.schedule.plan import Plan
from partoken.schedule.plot import plot_plans, terminal_plot, write_gallery
from partoken.schedule.stages import StagedPlan, needs_batches, plan_run
from partoken.schedule.tables import document_keypoints, document_scenarios, key_points, markdown
from partoken.system.files import atomic_path, explain_full_disk
from partoken.system.process import discard_output
from partoken.system.user_files import check_current_folder

__all__ = ["main"]

SCHEDULE_WORDS = re.compile(
    r"experiment=[^,]*|\+*trainer[.=].*|train\.(epochs|stage_epochs|batch_size|num_workers|seed|optimizer|weight_decay|"
    r"scheduler|lr|use_cosine_schedule|schedule_interval|warmup_epochs|warmup_steps|min_lr|num_cycles|lr_scaling|"
    r"lr_scaling_base_batch)=.*"
)
"""Overrides that change nothing but the schedule and the trainer of a configuration that ships with the package."""

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
        check_current_folder()
        _check_outputs(options)
        print("\n".join(_answer(options)), flush=True)  # a reader that has ended is noticed here, not at the exit
    except BrokenPipeError:
        return discard_output()
    except (UserError, OSError) as error:
        return print_error(error)
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Rejects a picture that could not be written, or that would replace a file of another kind."""
    png, gallery = options.png, options.gallery
    if png is not None and (png.suffix.lower() != ".png" or png.is_dir()):
        raise UserError(f"--png={png}: must be a file whose name ends in .png, as in --png plan.png")
    if png is not None and not png.parent.is_dir():
        raise UserError(f"--png={png}: there is no folder {png.parent}; create it, or choose another one")
    if gallery is not None and gallery.exists() and not gallery.is_dir():
        raise UserError(f"--gallery={gallery}: is a file; name a folder for the pictures")


def _answer(options: argparse.Namespace) -> Iterator[str]:
    if options.table:
        return markdown(TABLES[options.table]())
    if options.gallery:
        return _gallery(options.gallery)
    return _preview(options)


def _gallery(folder: Path) -> Iterator[str]:
    """Writes the pictures of the documentation, each completely or not at all, and yields their names."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as hidden, explain_full_disk(folder):
        for picture in write_gallery(Path(hidden)):
            yield str(picture.replace(folder / picture.name))


def _preview(options: argparse.Namespace) -> Iterator[str]:
    from partoken.composition import plain
    from partoken.config import compose
    from partoken.system.instantiation import instantiate

    if options.batches_per_epoch is not None and options.batches_per_epoch < 1:
        raise UserError(f"--batches-per-epoch={options.batches_per_epoch}: must be 1 or more")
    cfg = compose(tuple(options.overrides), options.config_dir)
    if not cfg.fit:
        yield "no schedule: train=false trains nothing"
        return
    groups = plain(cfg)
    settings = instantiate(groups["train"], "train")
    batches = _check(options, settings, groups)
    trainer = groups["trainer"]
    lengths = [RunLength.of_trainer(trainer, number) for number in batches]
    if settings.scheduler is not None:
        settings.check_scheduler(lengths[0])
        yield f"schedule of {settings.scheduler['_target_']}: no plan; a run records its rates in lr.csv"
        return
    effective = settings.batch_size * accumulated_batches(trainer) * num_devices(trainer)
    for name in settings.optimizer_names():
        plan = plan_run(settings.run_stages(name), lengths, effective_batch=effective)
        picture = options.png.with_stem(f"{options.png.stem}_{name}") if options.png and name else options.png
        yield from _show(plan, f"optimizer {name}, " if name else "", picture)
    yield from (f"advice: {sentence}" for sentence in settings.without_effect())


def _check(options: argparse.Namespace, settings: Any, groups: dict[str, Any]) -> list[int | None]:
    """Rejects what a run would reject before it trains, except what its data and this machine would.

    Arguments:
        options: of the command line.
        settings: of the training.
        groups: of the configuration, plain.

    Returns:
        The training batches of an epoch on each device, for each stage; None: unknown, and not needed.
    """
    settings.check_limits(groups["trainer"])
    if options.config_dir is None and all(map(SCHEDULE_WORDS.fullmatch, options.overrides)):
        return _batches(options, settings, groups)  # and torch is not imported
    from partoken.training.checks import check_resumed, check_settings

    check_settings(settings, groups)
    batches = _batches(options, settings, groups)
    if settings.resume_from is not None:
        check_resumed(settings, groups, batches)
    return batches


def _show(plan: Plan | StagedPlan, optimizer: str, picture: Path | None) -> Iterator[str]:
    """Yields the lines about a plan, and draws it."""
    if isinstance(plan, StagedPlan):
        yield f"{optimizer}schedule by {plan.interval}, {len(plan.plans)} stages:"
        yield from (f"  {stage.stage}: {stage.headline}" for stage in plan.plans)
    else:
        yield f"{optimizer}schedule by {plan.interval}: {plan.headline}"
    yield f"{plan.scaling}\n" if plan.scaling else ""
    yield from markdown(key_points(plan))
    if any(stage.curve is not None for stage in plan.plans):
        yield f"\n{terminal_plot(plan)}"
    yield from (f"advice: {sentence}" for sentence in plan.advice())
    if picture is not None:
        staged = f"learning rate by {plan.interval} over {len(plan.plans)} stages"
        title = staged if isinstance(plan, StagedPlan) else plan.headline
        with atomic_path(picture) as partial:
            plot_plans({"": plan}, partial, f"{optimizer}{title}")
        yield str(picture)


def _batches(options: argparse.Namespace, settings: Any, groups: dict[str, Any]) -> list[int | None]:
    """Returns the training batches of an epoch on each device, for each stage; None: unknown, or not needed."""
    stages, trainer = settings.run_stages(), groups["trainer"]
    if options.batches_per_epoch is not None:
        return [options.batches_per_epoch] * len(stages)
    max_steps = RunLength.of_trainer(trainer, None).max_steps
    if settings.resume_from is not None or (settings.scheduler is not None and settings.schedule_interval == "step"):
        is_needed = True
    else:
        is_needed = settings.scheduler is None and any(
            needs_batches(settings.run_stages(name), max_steps) for name in settings.optimizer_names()
        )
    if not is_needed:
        return [None] * len(stages)
    return _count_batches([stage.groups(groups)["data"] for stage in stages], settings, num_devices(trainer))


def _count_batches(groups: Sequence[dict[str, Any]], settings: Any, devices: int) -> list[int | None]:
    """Returns the training batches of an epoch on each device, for each stage; None if its data does not know them.

    Arguments:
        groups: the `data` group of each stage; the same data is read once.
        settings: of the training.
        devices: number of devices.
    """
    from partoken.system.instantiation import instantiate

    loading = {"batch_size": settings.batch_size, "num_workers": settings.num_workers, "seed": settings.seed}
    counted: list[tuple[dict[str, Any], int | None]] = []
    for group in groups:
        if all(group != other for other, _ in counted):
            try:
                counted.append((group, instantiate(group, "data", **loading).num_train_batches(devices)))
            except UserError as error:
                raise UserError(f"{error}; --batches-per-epoch N previews without the data") from None
    return [next(number for other, number in counted if other == group) for group in groups]


if __name__ == "__main__":
    sys.exit(main())
