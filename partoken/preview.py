"""Shows the plan of a configuration before anything is trained.

    python -m partoken.schedule train.use_cosine_schedule=true train.epochs=50     the overrides of a run
    python -m partoken.schedule OVERRIDES --png plan.png                           as a picture as well
    python -m partoken.schedule OVERRIDES --csv rates.csv                          the rate of every step, as a table
    python -m partoken.schedule OVERRIDES --compare wsd,cosine                     several presets over each other
    python -m partoken.schedule --gallery reports                                  the pictures of the documentation
    python -m partoken.schedule --table keypoints                                  its tables, as Markdown

`partoken preview` is the same command.

With `train.schedule_interval=step`, or to resume, the data is opened to count its batches, unless --batches-per-epoch
is given. Other keys than those of the schedule are checked as in a run, which imports torch.
"""

import argparse
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.errors import UserError, print_error
from partoken.schedule.comparing import area_table, areas, csv_lines
from partoken.schedule.fork import fork_plans
from partoken.schedule.length import RunLength, accumulated_batches, num_devices
from partoken.schedule.plan import Plan
from partoken.schedule.plot import plot_plans, terminal_plot, write_gallery
from partoken.schedule.stages import StagedPlan, needs_batches, plan_groups, plan_run
from partoken.schedule.tables import document_keypoints, document_scenarios, key_points, markdown
from partoken.system.files import atomic_path, atomic_write, explain_full_disk
from partoken.system.process import discard_output
from partoken.system.user_files import check_current_folder

__all__ = ["main"]

SCHEDULE_WORDS = re.compile(
    r"experiment=[^,]*|\+*(trainer|schedule)[.=].*|train\.(epochs|stage_epochs|batch_size|num_workers|seed|optimizer|"
    r"weight_decay|scheduler|lr|use_cosine_schedule|schedule_interval|warmup_epochs|warmup_steps|min_lr|num_cycles|"
    r"lr_scaling|lr_scaling_base_batch)=.*"
)
"""Overrides that change nothing but the schedule and the trainer of a configuration that ships with the package."""

_Plans = dict[str, dict[str, Plan | StagedPlan]]
"""Of each optimizer, by its name: its plan under "", and those of its groups by their names."""

TABLES = {"keypoints": document_keypoints, "scenarios": document_scenarios}


def main(arguments: Sequence[str] | None = None, program: str = "python -m partoken.schedule") -> int:
    """Runs the command; returns its exit status, 2 for a user error."""
    parser = argparse.ArgumentParser(program, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter  # keeps the lines of __doc__
    parser.add_argument("overrides", nargs="*", help="as for partoken train: key=value, group=option")
    parser.add_argument("--config-dir", "-cd", type=Path, metavar="DIR", help="a folder with more YAML files")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the plan")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the rate of every step or epoch")
    parser.add_argument("--compare", metavar="NAMES", help="options of schedule, with the area under each curve")
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
    gallery = options.gallery
    for name, path in (("png", options.png), ("csv", options.csv)):
        if path is not None and (path.suffix.lower() != f".{name}" or path.is_dir()):
            raise UserError(f"--{name}={path}: must be a file whose name ends in .{name}, as in --{name} plan.{name}")
        if path is not None and not path.parent.is_dir():
            raise UserError(f"--{name}={path}: there is no folder {path.parent}; create it, or choose another one")
    if gallery is not None and gallery.exists() and not gallery.is_dir():
        raise UserError(f"--gallery={gallery}: is a file; name a folder for the pictures")


def _answer(options: argparse.Namespace) -> Iterator[str]:
    if options.table:
        return markdown(TABLES[options.table]())
    if options.gallery:
        return _gallery(options.gallery)
    if options.batches_per_epoch is not None and options.batches_per_epoch < 1:
        raise UserError(f"--batches-per-epoch={options.batches_per_epoch}: must be 1 or more")
    return _preview(options) if options.compare is None else _compare(options)


def _gallery(folder: Path) -> Iterator[str]:
    """Writes the pictures of the documentation, each completely or not at all, and yields their names."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as hidden, explain_full_disk(folder):
        for picture in write_gallery(Path(hidden)):
            yield str(picture.replace(folder / picture.name))


def _preview(options: argparse.Namespace) -> Iterator[str]:
    from partoken.config import compose

    cfg = compose(tuple(options.overrides), options.config_dir)
    if not cfg.fit:
        yield "no schedule: train=false trains nothing"
        return
    settings, lengths, groups = _checked(options, cfg)
    if settings.scheduler is not None:
        settings.check_scheduler(lengths[0])
        yield f"schedule of {settings.scheduler['_target_']}: no plan; a run records its rates in lr.csv"
        for group in settings.parameter_groups():
            yield f"group {group.name}: {group.settings.lr:.2e} in place of {settings.lr:.2e}"
        return
    plans = _plans(settings, lengths, groups)
    for name, own in plans.items():
        optimizer, plan = f"optimizer {name}, " if name else "", own[""]
        yield from _show(plan, optimizer)
        for group in filter(None, own):
            yield ""
            yield from _show(own[group], f"{optimizer}group {group}, ", said=plan.advice())
        yield from _notes_on_layers(settings.run_stages(name))
        if options.png:
            picture = options.png.with_stem(f"{options.png.stem}_{name}") if name else options.png
            yield _draw(own, optimizer, picture)
    yield from _write_csv(_named(plans), options.csv)
    yield from (f"advice: {sentence}" for sentence in settings.without_effect())


def _compare(options: argparse.Namespace) -> Iterator[str]:
    """Yields the area under the curve of each preset, and draws them over each other."""
    from partoken.config import compose

    names = [name.strip() for name in options.compare.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise UserError(f"--compare={options.compare}: name options of schedule, each once, as in --compare wsd,cosine")
    plans: dict[str, Plan | StagedPlan] = {}
    for name in names:
        cfg = compose((*options.overrides, f"schedule={name}"), options.config_dir)
        settings, lengths, groups = _checked(options, cfg)
        if settings.scheduler is not None:
            raise UserError(f"--compare={options.compare}: train.scheduler has no plan; set train.scheduler=null")
        for part, plan in _named(_plans(settings, lengths, groups)).items():
            plans[f"{name}, {part}" if part else name] = plan
    yield from markdown(area_table(plans))
    for name, plan in plans.items():
        yield f"\n{name}: {plan.headline}\n{terminal_plot(plan, height=4)}"
    if options.png is not None:
        labels = {f"{name}: {area:.2e}": plans[name] for name, area in areas(plans).items()}
        with atomic_path(options.png) as partial:
            plot_plans(labels, partial, "Learning rate of each schedule, with the sum of its rates")
        yield str(options.png)
    yield from _write_csv(plans, options.csv)


def _named(plans: _Plans) -> dict[str, Plan | StagedPlan]:
    """Returns all plans by the names of their optimizer and their group."""
    return {", ".join(filter(None, (name, group))): plan for name, own in plans.items() for group, plan in own.items()}


def _write_csv(plans: dict[str, Plan | StagedPlan], path: Path | None) -> Iterator[str]:
    if path is not None:
        with atomic_write(path) as file:
            file.writelines(f"{line}\n" for line in csv_lines(plans))
        yield str(path)


def _checked(options: argparse.Namespace, cfg: Any) -> tuple[Any, list[RunLength], dict[str, Any]]:
    """Rejects what a run would reject before it trains, except what its data and this machine would.

    Arguments:
        options: of the command line.
        cfg: the composed configuration.

    Returns:
        The settings of the training, the length of the run for each stage, and the groups of the configuration, plain.
    """
    from partoken.composition import plain
    from partoken.system.instantiation import instantiate

    groups = plain(cfg)
    settings = instantiate(groups["train"], "train")
    settings.check_limits(groups["trainer"])
    is_simple = options.config_dir is None and all(map(SCHEDULE_WORDS.fullmatch, options.overrides))
    if not is_simple:  # else torch is not imported
        from partoken.training.checks import check_settings

        check_settings(settings, groups)
    batches = _batches(options, settings, groups)
    if settings.resume_from is not None and not settings.forks:
        from partoken.training.checks import check_resumed

        check_resumed(settings, groups, batches)
    return settings, [RunLength.of_trainer(groups["trainer"], number) for number in batches], groups


def _plans(settings: Any, lengths: Sequence[RunLength], groups: dict[str, Any]) -> _Plans:
    """Returns the plans of each optimizer, by its name; "" is the name of the only one."""
    if settings.forks:
        return fork_plans(_saved_schedule(groups), settings, lengths[0].steps_per_epoch)
    trainer = groups["trainer"]
    batch = settings.batch_size * accumulated_batches(trainer) * num_devices(trainer)
    plans: _Plans = {}
    for name in settings.optimizer_names():
        stages = settings.run_stages(name)
        plans[name] = {"": plan_run(stages, lengths, effective_batch=batch)}
        plans[name] |= plan_groups(stages, lengths, effective_batch=batch)
    return plans


def _saved_schedule(groups: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what the checkpoint of a fork's trunk holds of its schedule."""
    from partoken.system.checkpoint import read_checkpoint

    source = Path(groups["resume"] or groups["train"]["resume_from"])
    path = source / "checkpoints" / "last.ckpt" if source.is_dir() else source
    if not path.is_file():
        raise UserError(f"resume={source}: the preview of a fork needs its checkpoint; name the file of one")
    saved: Mapping[str, Any] = read_checkpoint(path).get("partoken_schedule") or {}
    return saved


def _notes_on_layers(stages: Sequence[Any]) -> Iterator[str]:
    """Yields a line for each group whose layers only the network tells."""
    groups = {group.path: group for stage in stages for group in stage.settings.parameter_groups()}
    for path, group in groups.items():
        if group.layer_decay is not None:
            rates = f"the rates above are those of the highest layer of group {group.name}"
            yield f"{path}.layer_decay={group.layer_decay:g}: {rates}; a run, which has the network, logs every layer's"


def _show(plan: Plan | StagedPlan, optimizer: str, said: Sequence[str] = ()) -> Iterator[str]:
    """Yields the lines about a plan, with its advice that is not said yet."""
    if isinstance(plan, StagedPlan):
        yield f"{optimizer}schedule by {plan.interval}, {len(plan.plans)} stages:"
        yield from (f"  {stage.stage}: {stage.headline}" for stage in plan.plans)
    else:
        yield f"{optimizer}schedule by {plan.interval}: {plan.headline}"
    yield f"{plan.scaling}\n" if plan.scaling else ""
    yield from markdown(key_points(plan))
    if any(stage.curve is not None for stage in plan.plans):
        yield f"\n{terminal_plot(plan)}"
    yield from (f"advice: {sentence}" for sentence in plan.advice() if sentence not in said)


def _draw(plans: Mapping[str, Plan | StagedPlan], optimizer: str, picture: Path) -> str:
    """Draws the plan of an optimizer and those of its groups, and returns the path of the picture."""
    plan = plans[""]
    staged = f"learning rate by {plan.interval} over {len(plan.plans)} stages"
    title = staged if isinstance(plan, StagedPlan) else plan.headline
    with atomic_path(picture) as partial:
        plot_plans({name or "default": own for name, own in plans.items()}, partial, f"{optimizer}{title}")
    return str(picture)


def _batches(options: argparse.Namespace, settings: Any, groups: dict[str, Any]) -> list[int | None]:
    """Returns the training batches of an epoch on each device, for each stage; None: unknown, or not needed."""
    stages, trainer = settings.run_stages(), groups["trainer"]
    if options.batches_per_epoch is not None:
        return [options.batches_per_epoch] * len(stages)
    max_steps = RunLength.of_trainer(trainer, None).max_steps
    if settings.forks:
        is_needed = "epoch" in str(settings.segments)
    elif settings.resume_from is not None or (settings.scheduler is not None and settings.schedule_interval == "step"):
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
    from partoken.training.checks import create_data

    counted: list[tuple[dict[str, Any], int | None]] = []
    for group in groups:
        if all(group != other for other, _ in counted):
            try:
                counted.append((group, create_data(group, settings).num_train_batches(devices)))
            except UserError as error:
                raise UserError(f"{error}; --batches-per-epoch N previews without the data") from None
    return [next(number for other, number in counted if other == group) for group in groups]
