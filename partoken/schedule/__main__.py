"""Shows the plan of a configuration before anything is trained.

    python -m partoken.schedule train.use_cosine_schedule=true train.epochs=50     the overrides of a run
    python -m partoken.schedule OVERRIDES --png plan.png                           as a picture as well
    python -m partoken.schedule OVERRIDES --csv rates.csv                          the rate of every step, as a table
    python -m partoken.schedule OVERRIDES --compare wsd,cosine                     several presets over each other
    python -m partoken.schedule --gallery reports                                  the pictures of the documentation
    python -m partoken.schedule --table keypoints                                  its tables, as Markdown

`partoken preview` is the same command.

With `train.schedule_interval=step` the data is opened to count its batches, unless --batches-per-epoch is given.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.errors import UserError
from partoken.schedule.comparing import area_table, areas, csv_lines
from partoken.schedule.fork import fork_plans
from partoken.schedule.length import RunLength, accumulated_batches, num_devices
from partoken.schedule.plan import Plan
from partoken.schedule.plot import plot_plans, terminal_plot, write_gallery
from partoken.schedule.stages import StagedPlan, needs_batches, plan_groups, plan_run
from partoken.schedule.tables import document_keypoints, document_scenarios, key_points, markdown
from partoken.system.process import discard_output
from partoken.system.user_files import check_current_folder

__all__ = ["main"]

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
    except UserError as error:
        message = str(error)
    except BrokenPipeError:
        return discard_output()
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    else:
        return 0
    print(f"error: {message}", file=sys.stderr)
    return 2


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
        return map(str, write_gallery(options.gallery))
    if options.batches_per_epoch is not None and options.batches_per_epoch < 1:
        raise UserError(f"--batches-per-epoch={options.batches_per_epoch}: must be 1 or more")
    return _preview(options) if options.compare is None else _compare(options)


def _preview(options: argparse.Namespace) -> Iterator[str]:
    from partoken.config import compose

    cfg = compose(tuple(options.overrides), options.config_dir)
    if not cfg.fit:
        yield "no schedule: train=false trains nothing"
        return
    settings = _settings(cfg)
    if settings.scheduler is not None:
        _check_scheduler(cfg, settings, options.batches_per_epoch)
        yield f"schedule of {settings.scheduler['_target_']}: no plan; a run records its rates in lr.csv"
        for group in settings.parameter_groups():
            yield f"group {group.name}: {group.settings.lr:.2e} in place of {settings.lr:.2e}"
        return
    plans = _plans(cfg, settings, options.batches_per_epoch)
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
        settings = _settings(cfg)
        if settings.scheduler is not None:
            raise UserError(f"--compare={options.compare}: train.scheduler has no plan; set train.scheduler=null")
        for part, plan in _named(_plans(cfg, settings, options.batches_per_epoch)).items():
            plans[f"{name}, {part}" if part else name] = plan
    yield from markdown(area_table(plans))
    for name, plan in plans.items():
        yield f"\n{name}: {plan.headline}\n{terminal_plot(plan, height=4)}"
    if options.png is not None:
        labels = {f"{name}: {area:.2e}": plans[name] for name, area in areas(plans).items()}
        plot_plans(labels, options.png, "Learning rate of each schedule, with the sum of its rates")
        yield str(options.png)
    yield from _write_csv(plans, options.csv)


def _named(plans: _Plans) -> dict[str, Plan | StagedPlan]:
    """Returns all plans by the names of their optimizer and their group."""
    return {", ".join(filter(None, (name, group))): plan for name, own in plans.items() for group, plan in own.items()}


def _write_csv(plans: dict[str, Plan | StagedPlan], path: Path | None) -> Iterator[str]:
    from partoken.system.files import atomic_write

    if path is not None:
        with atomic_write(path) as file:
            file.writelines(f"{line}\n" for line in csv_lines(plans))
        yield str(path)


def _settings(cfg: Any) -> Any:
    """Returns the settings of the training, checked against the trainer."""
    from partoken.composition import plain_group
    from partoken.system.instantiation import instantiate

    settings = instantiate(plain_group(cfg, "train"), "train")
    settings.check_limits(plain_group(cfg, "trainer"))
    return settings


def _check_scheduler(cfg: Any, settings: Any, batches: int | None) -> None:
    """Rejects a scheduler of torch that would fail in the run."""
    from partoken.composition import plain_group

    trainer = plain_group(cfg, "trainer")
    if settings.schedule_interval == "step" and batches is None:
        batches = _count_batches([plain_group(cfg, "data")], settings, num_devices(trainer))[0]
    settings.check_scheduler(RunLength.of_trainer(trainer, batches))


def _plans(cfg: Any, settings: Any, batches_per_epoch: int | None) -> _Plans:
    """Returns the plans of each optimizer, by its name; "" is the name of the only one."""
    from partoken.composition import plain_group

    trainer = plain_group(cfg, "trainer")
    devices, accumulate = num_devices(trainer), accumulated_batches(trainer)
    length = RunLength.of_trainer(trainer, batches_per_epoch)
    names = settings.optimizer_names()
    lengths = [length] * len(settings.run_stages())
    needs = any(needs_batches(settings.run_stages(name), length.max_steps) for name in names)
    if batches_per_epoch is None and (needs or (settings.forks and "epoch" in str(settings.segments))):
        groups = {name: plain_group(cfg, name) for name in ("data", "model")}
        batches = _count_batches([stage.groups(groups)["data"] for stage in settings.run_stages()], settings, devices)
        lengths = [RunLength.of_trainer(trainer, number) for number in batches]
    if settings.forks:
        return fork_plans(_saved_schedule(cfg), settings, lengths[0].steps_per_epoch)
    batch = settings.batch_size * accumulate * devices
    plans: _Plans = {}
    for name in names:
        stages = settings.run_stages(name)
        plans[name] = {"": plan_run(stages, lengths, effective_batch=batch)}
        plans[name] |= plan_groups(stages, lengths, effective_batch=batch)
    return plans


def _saved_schedule(cfg: Any) -> Mapping[str, Any]:
    """Returns what the checkpoint of a fork's trunk holds of its schedule."""
    from partoken.system.checkpoint import read_checkpoint

    source = Path(cfg.resume or cfg.train.resume_from)
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
    plot_plans({name or "default": own for name, own in plans.items()}, picture, f"{optimizer}{title}")
    return str(picture)


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
