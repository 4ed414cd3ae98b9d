"""What can be checked before the data is read, and the plan of a run as soon as its length is known."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from partoken.composition import PREVIEW_FOLDER
from partoken.config_checks import check_phases
from partoken.errors import UserError, check_flag
from partoken.schedule import Plan, RunLength, StagedPlan, plan_groups, plan_run
from partoken.schedule.length import accumulated_batches, num_devices
from partoken.schedule.stages import needs_batches
from partoken.system.checkpoint import read_checkpoint
from partoken.system.instantiation import instantiate
from partoken.system.ranks import started_by
from partoken.system.run_folder import list_results
from partoken.trainer_arguments import check_trainer
from partoken.training.callbacks import build_callbacks
from partoken.training.continuing import NEW, Start, find_start, settings_of_stages
from partoken.training.domain import DataModule
from partoken.training.forking import check_fork_limits, check_own_folder
from partoken.training.loggers import check_loggers
from partoken.training.module import ScheduledModule, task_class
from partoken.training.objective import check_metric
from partoken.training.resumed_settings import choose_plan, saved_plan
from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage, WeightsSource, named, weights_source

__all__ = [
    "check_before_reading",
    "check_evaluation",
    "check_folder",
    "check_free",
    "check_plans",
    "check_resumed",
    "check_settings",
    "create_data",
    "task_metrics",
]


def check_folder(groups: Mapping[str, Any], folder: Path) -> None:
    """Rejects the run folder of a run that only tests a checkpoint, and of a fork, if the checkpoint is in it.

    Arguments:
        groups: of the configuration, plain.
        folder: the run folder, to which nothing has been written yet.

    Raises:
        UserError: naming the folder.
    """
    if groups.get("fit", True):
        check_own_folder(groups, folder)
        return
    check_phases(groups)
    source = groups["train"]["resume_from"]
    if Path(source).resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"train=false: the results of the run that wrote {source} would be overwritten; choose another folder "
            "than its own with hydra.run.dir=FOLDER"
        )


def check_free(groups: Mapping[str, Any], folder: Path) -> None:
    """Rejects the folder of another run, unless this run continues that one, or `overwrite` allows to replace it.

    Arguments:
        groups: of the configuration, plain.
        folder: the run folder, in which no other process trains now.

    Raises:
        UserError: naming the folder.
    """
    overwrite, source = groups.get("overwrite", False), groups["train"].get("resume_from")
    check_flag("overwrite", overwrite)
    results = list_results(folder)
    if not results or overwrite or (source and Path(source).resolve().is_relative_to(folder.resolve())):
        return
    raise UserError(
        f"hydra.run.dir={folder}: holds a run already ({', '.join(results)}); continue it with "
        f"resume=latest, replace it with overwrite=true, or choose another folder"
    )


def check_before_reading(train: TrainSettings, groups: Mapping[str, Any]) -> None:
    """Rejects settings that are wrong for any data, or on this machine.

    Arguments:
        train: the train settings.
        groups: of the configuration, plain.

    Raises:
        UserError: naming the key, what was found, what is allowed and the fix.
    """
    check_trainer(groups["trainer"], groups["train"])
    _check_processes(groups["trainer"])
    _check_devices(groups["trainer"])
    check_settings(train, groups)


def check_settings(train: TrainSettings, groups: Mapping[str, Any]) -> None:
    """Rejects settings that are wrong for any data on any machine; a run and the preview call it.

    Arguments:
        train: the train settings.
        groups: of the configuration, plain.

    Raises:
        UserError: naming the key, what was found, what is allowed and the fix.
    """
    if train.forks:
        check_fork_limits(train, groups["trainer"])
    check_phases(groups)
    check_loggers(groups, train)
    build_callbacks(groups.get("callbacks", {}))
    if groups.get("fit", True):
        check_plans(train, groups["trainer"], batches=None)
    given = _read_given_weights(train, groups)
    stages = train.run_stages()
    outlines: dict[str, ScheduledModule | None] = {}
    for number, stage in enumerate(stages):
        of_stage = stage.groups(groups)
        with named(stage):
            create_data(of_stage["data"], train)
        group = of_stage["model"]
        kind = task_class(group["_target_"])
        if kind is not None:
            known = kind.metrics_of(of_stage) if not groups.get("callbacks") else ()  # a callback may log a metric
            check_metric(stage.settings.key("monitor"), stage.settings.monitor, known)
            outline = outlines[stage.name] = _check_model(stage, train, group, kind)
            with named(stage):
                kind.check_groups(of_stage)
            source = weights_source(stages, number)
            if source is not None:
                _check_start(stage, outlines, source, given)
            elif outline is not None and groups.get("fit", True) and train.resume_from is None:
                with named(stage):
                    outline.begin(None)


def check_resumed(train: TrainSettings, groups: Mapping[str, Any], batches: Sequence[int | None]) -> None:
    """Rejects a resume that its checkpoint does not allow, before there is a run folder; the preview calls it.

    Arguments:
        train: the train settings, with `resume_from`.
        groups: of the configuration, plain.
        batches: training batches of an epoch on each device, for each stage.

    Raises:
        UserError: naming the setting, or the fault of the checkpoint.
    """
    of_stages = settings_of_stages(train, groups, Path(PREVIEW_FOLDER))
    check_plans(train, groups["trainer"], batches, find_start(train, train.run_stages(), of_stages, groups["trainer"]))


def create_data(group: Mapping[str, Any], train: TrainSettings) -> DataModule:
    """Creates the data of a stage, and reads nothing.

    Arguments:
        group: the `data` group of the stage, plain.
        train: the train settings.

    Raises:
        UserError: a setting that cannot be used.
    """
    loading = {"batch_size": train.batch_size, "num_workers": train.num_workers, "seed": train.seed}
    data: DataModule = instantiate(group, "data", **loading)
    return data


def task_metrics(train: TrainSettings, groups: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the metrics that the tasks of a run log, and those of every run.

    It returns () if they are not known: a task does not list its own, or a callback may log some.

    Arguments:
        train: the train settings.
        groups: of the configuration, plain.
    """
    of_stages = [stage.groups(groups) for stage in train.run_stages()]
    kinds = [task_class(of_stage["model"]["_target_"]) for of_stage in of_stages]
    listed = [
        () if kind is None else kind.metrics_of(of_stage) for kind, of_stage in zip(kinds, of_stages, strict=True)
    ]
    if not all(listed) or groups.get("callbacks"):
        return ()
    units = [f"{kind.unit}_per_second" for kind in kinds if kind is not None]
    return tuple(dict.fromkeys([*(name for names in listed for name in names), *units, "seconds"]))


def check_plans(
    train: TrainSettings,
    trainer: Mapping[str, Any],
    batches: Sequence[int | None] | None,
    start: Start = NEW,
) -> Plan | StagedPlan | None:
    """Rejects an impossible schedule, and for a resumed run one that cannot follow the saved schedule.

    Arguments:
        train: the train settings.
        trainer: the `trainer` group of the configuration.
        batches: training batches of an epoch on each device, for each stage; None: unknown, and plans that need them
            are not made.
        start: where the run begins.

    Returns:
        The plan of the first optimizer; None if it was not made.

    Raises:
        UserError: naming the stage and the key.
    """
    train.check_limits(trainer)
    accumulate = accumulated_batches(trainer)
    batch = train.batch_size * accumulate * num_devices(trainer)
    plans, of_groups = {}, {}
    saved = {} if start.state is None else start.state.schedules
    for name in dict.fromkeys([*train.optimizer_names(), *saved]):
        stages = train.run_stages(name)
        lengths = [
            RunLength.of_trainer(trainer, number_of_batches, start.done(stage, accumulate))
            for stage, number_of_batches in enumerate(batches or [None] * len(stages))
        ]
        if train.scheduler is None and (batches or not needs_batches(stages, lengths[0].max_steps)):
            plans[name] = plan_run(stages, lengths, effective_batch=batch)
            of_groups[name] = plan_groups(stages, lengths, effective_batch=batch)
    train.check_scheduler(RunLength.of_trainer(trainer, batches[0] if batches else None, start.done(0, accumulate)))
    for number in batches or ():
        _check_val_interval(trainer, number)
    if not plans or batches is None:
        return None
    first = next(iter(plans.values()))
    for stage, plan in zip(train.run_stages(), first.plans, strict=True):
        if stage.has_length and plan.total_epochs is not None:
            stage.check_epochs(plan.total_epochs)
    if start.state is not None:
        for name, schedule in saved.items():
            for group, planned in {"": plans[name], **of_groups[name]}.items():
                own = saved_plan(schedule, group)
                choose_plan(own, planned.plans[start.number], start.state.epochs, train, start.changed)
    return first


def _check_val_interval(trainer: Mapping[str, Any], num_batches: int | None) -> None:
    """Rejects an interval of validations that is longer than an epoch, in which the run would have none."""
    interval = trainer.get("val_check_interval", 1.0)
    epoch = RunLength.of_trainer({**trainer, "accumulate_grad_batches": 1}, num_batches).steps_per_epoch
    if isinstance(interval, int) and epoch is not None and interval > epoch:
        raise UserError(
            f"trainer.val_check_interval={interval}: an epoch has {epoch} batches; set it to {epoch} or fewer, or to a "
            "fraction such as 0.5; trainer.check_val_every_n_epoch leaves out epochs"
        )


def check_evaluation(data: Any, trainer: Mapping[str, Any]) -> None:
    """Rejects a fraction of the batches of a validation or a test that leaves none of them.

    Arguments:
        data: of a stage, read.
        trainer: the `trainer` group of the configuration.

    Raises:
        UserError: naming the key and the number of batches.
    """
    for split in ("val", "test") if not trainer.get("overfit_batches") else ():
        key = f"limit_{split}_batches"
        limit = trainer.get(key)
        if isinstance(limit, float) and 0 < limit < 1:
            num_batches = len(getattr(data, f"{split}_dataloader")())
            if int(num_batches * limit) == 0:
                raise UserError(f"trainer.{key}={limit}: leaves no batch of the {num_batches} there are; raise it")


def _read_given_weights(train: TrainSettings, groups: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Reads the checkpoints of other runs with which stages start, by path; a resumed run needs none.

    Raises:
        UserError: a checkpoint cannot be read.
    """
    if not groups.get("fit", True) or train.resume_from is not None:
        return {}
    stages, found = train.run_stages(), {}
    for number, stage in enumerate(stages):
        source = weights_source(stages, number)
        if source is not None and not source.stage:
            try:
                found[source.file] = read_checkpoint(source.file)
            except UserError as error:
                raise UserError(f"{stage.path}.weights_from: {error}") from error
    return found


def _check_start(
    stage: TrainStage[TrainSettings],
    outlines: Mapping[str, ScheduledModule | None],
    source: WeightsSource,
    given: Mapping[str, Mapping[str, Any]],
) -> None:
    """Rejects a stage whose model cannot start with the weights that it names.

    Residue features are known only when the data are read, so weights for them are not checked here.

    Arguments:
        stage: the stage.
        outlines: models of this stage and of those before, by name; None: unknown.
        source: of the weights.
        given: checkpoints of other runs, by path.
    """
    model, before = outlines[stage.name], outlines.get(source.stage)
    if source.stage and before is not None:
        checkpoint: Mapping[str, Any] = {"state_dict": before.state_dict(), "hyper_parameters": dict(before.hparams)}
    else:
        checkpoint = given.get(source.file, {})
    data = checkpoint.get("hyper_parameters", {}).get("data") or {}
    if model is None or not checkpoint or data.get("residue_features"):
        return
    weights = {name: value.to("meta") for name, value in checkpoint["state_dict"].items()}
    try:
        stage.load_weights(model, {**checkpoint, "state_dict": weights})
    except UserError as error:
        raise UserError(f"{stage.path}.weights_from: {source}: {error}") from error


def _check_processes(trainer: Mapping[str, Any]) -> None:
    """Rejects settings that do not fit the processes that torchrun or srun has started."""
    started, num = started_by(), num_devices(trainer)
    devices, nodes = trainer.get("devices", "auto"), trainer.get("num_nodes", 1)
    if started is None and nodes > 1:
        raise UserError(
            f"trainer.num_nodes={nodes}: nothing has started the processes of the other machines; start this command "
            "with torchrun or srun, or set trainer.num_nodes=1"
        )
    if started is not None and started.num_processes != num:
        raise UserError(
            f"{started.program} has started {started.num_processes} processes, but trainer.devices={devices} and "
            f"trainer.num_nodes={nodes} need {num}: set trainer.devices to the processes of a machine and "
            "trainer.num_nodes to the number of machines"
        )


def _check_devices(trainer: Mapping[str, Any]) -> None:
    """Rejects devices that this machine does not have; torchrun and srun start as many processes as they are told."""
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", "auto")
    num_gpus = torch.cuda.device_count()
    if accelerator in ("gpu", "cuda") and not num_gpus and not torch.backends.mps.is_available():
        raise UserError(f"trainer.accelerator={accelerator}: this machine has no GPU; set trainer.accelerator=auto")
    num = num_devices({**trainer, "num_nodes": 1})
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and num_gpus > 0)
    if on_gpu and num > max(1, num_gpus):
        raise UserError(f"trainer.devices={devices}: this machine has {num_gpus} GPUs; set trainer.devices to as many")
    most = max(2, os.cpu_count() or 1)  # a trial of two processes must be possible everywhere
    if not on_gpu and num > most and started_by() is None:
        raise UserError(
            f"trainer.devices={devices}: on a CPU a device is a process, and this machine has {os.cpu_count()} cores; "
            f"set trainer.devices to {most} or fewer"
        )


def _check_model(
    stage: TrainStage[TrainSettings], train: TrainSettings, group: Mapping[str, Any], kind: type[ScheduledModule]
) -> ScheduledModule | None:
    """Checks a stage against the outline of its model and returns that; None: its task has none."""
    keys = {key: value for key, value in group.items() if key != "_target_"}
    with named(stage):
        outline = kind.outline(train=train.plain(), **keys)
    if outline is not None:
        stage.check_model(outline)
        with named(stage):
            outline.parameter_parts(stage.settings)
    return outline
