"""Carries out one run: data, its stages one after another, summary. It knows no domain and no kind of stage."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm.contrib.logging import logging_redirect_tqdm

from partoken.config import job_groups, record_config
from partoken.errors import UserError
from partoken.schedule import Plan, StagedPlan
from partoken.schedule.length import num_devices
from partoken.system.files import delete_all_partial, write_json
from partoken.system.run_status import read_status, record_status
from partoken.training.checks import (
    check_before_reading,
    check_evaluation,
    check_folder,
    check_free,
    check_plans,
    create_data,
)
from partoken.training.continuing import (
    find_evaluated,
    find_start,
    link_finished,
    set_aside,
    settings_of_stages,
    take_over,
)
from partoken.training.domain import DataModule
from partoken.training.endings import Endings
from partoken.training.forking import fork_facts, fork_trainer, write_fork
from partoken.training.loggers import open_loggers
from partoken.training.newest import choose_start
from partoken.training.objective import objective
from partoken.training.recorders import whole_run
from partoken.training.settings import TrainSettings
from partoken.training.stage_run import StageRun
from partoken.training.stages import Position, TrainStage
from partoken.training.summary import finite, versions
from partoken.training.trainer import is_main_process, quiet_lightning

__all__ = ["Outcome", "carry_out", "check_outcome", "run"]

log = logging.getLogger(__name__)

OF_A_STAGE = ("name", "first_epoch", "loss_weights")
"""Keys of the summary of a stage that the summary of the run does not have."""

Present = Callable[[Path], object]
"""Draws the pictures of a finished run folder."""


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    folder: Path
    """The run folder."""
    summary: dict[str, Any]
    """The content of `summary.json`."""
    objective: float
    """The value that a sweep optimises; see `objective`."""


def run(cfg: DictConfig, present: Present | None = None) -> Outcome:
    """Carries out the composed config of a Hydra job in its run folder; see `carry_out`."""
    job = HydraConfig.get()
    folder, groups = Path(job.runtime.output_dir), job_groups(cfg)
    if not OmegaConf.is_missing(job.job, "num"):
        groups["overwrite"] = True  # a sweep decides itself which of its jobs begin again
    begin = partial(record_config, cfg, folder)
    summary = carry_out(groups, folder, overrides=list(job.overrides.task), present=present, begin=begin)
    chosen, train = groups.get("sweep") or {}, groups["train"]
    metric, direction = chosen.get("metric") or train["monitor"], chosen.get("direction") or train["monitor_mode"]
    return Outcome(folder, summary, objective(folder, metric, direction))


def carry_out(
    settings: Mapping[str, Any],
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    present: Present | None = None,
    callbacks: Sequence[pl.Callback] = (),
    begin: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Trains, validates and tests what the settings describe, stage by stage; most runs have a single stage.

    It leaves `checkpoints/best.ckpt`, `checkpoints/last.ckpt`, `lr.csv`, `metrics.csv`, `summary.json` and
    `status.json` in the folder, and `checkpoints/NAME/` of each named stage.

    Arguments:
        settings: the groups of the config, plain: `data` and `model` with their `_target_`, `train`, `trainer`, and
            optionally `logger`, `run`, `callbacks`, `fit` (false: only tests `train.resume_from`), `test` (false: no
            test), `resume`, `checkpoint` and `overwrite` (true: replaces another run in the folder).
        folder: the run folder, which exists.
        overrides: of the command line, for `status.json` and `summary.json`.
        present: called with the folder when `summary.json` is written, before the loggers close, so that they can
            take its pictures; only in the main process.
        callbacks: added to those of every stage.
        begin: called when the folder belongs to this run; only in the main process.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: the config, the data or the checkpoint cannot be used, another process trains in the folder, the
            folder holds another run, or the loss is no longer a finite number.
        NothingToDo: `resume` is "auto", and the same command has finished the run in the folder.
    """
    check_folder(settings, folder)
    if not is_main_process():
        return _carry_out(
            choose_start(settings, folder, overrides), folder, overrides, None, callbacks, Endings(folder)
        )
    before = read_status(folder)

    def begin_run() -> None:
        nonlocal settings
        settings = choose_start(settings, folder, overrides)
        check_free(settings, folder)
        delete_all_partial(folder)
        if begin is not None:
            begin()

    with record_status(folder, overrides, begin_run) as ending:
        if before.status == "interrupted":
            set_aside(folder)  # the run was killed while it drew its pictures, so it has not ended
        endings = Endings(folder)
        try:
            return _carry_out(settings, folder, overrides, present, callbacks, endings)
        finally:
            if endings.status is not None:
                ending.status, ending.reason = endings.status, endings.reason


def _carry_out(
    settings: Mapping[str, Any],
    folder: Path,
    overrides: Sequence[str],
    present: Present | None,
    callbacks: Sequence[pl.Callback],
    endings: Endings,
) -> dict[str, Any]:
    started = time.perf_counter()
    quiet_lightning()
    log.info("run folder: %s", folder)
    train = TrainSettings.read(settings["train"])
    check_before_reading(train, settings)
    for sentence in train.without_effect():
        log.warning("%s", sentence)
    stages, fits = train.run_stages(), settings.get("fit", True)
    of_stages = settings_of_stages(train, settings, folder)
    if fits:
        start = find_start(train, stages, of_stages, settings["trainer"])
    else:
        start = find_evaluated(train, stages)
    pl.seed_everything(train.seed, workers=True, verbose=False)

    plan = None
    data = _read_data(settings, train, folder, None if fits else start.number)
    for own in data.values():
        check_evaluation(own, settings["trainer"])
    if fits:
        batches = [own.num_train_batches(num_devices(settings["trainer"])) for own in data.values()]
        if train.forks:
            assert start.state is not None, "`check_resume` asks for a checkpoint"
            settings = {**settings, "trainer": fork_trainer(train, settings["trainer"], start.state, batches[0])}
        plan = check_plans(train, settings["trainer"], batches, start)
    if is_main_process():
        take_over(start, folder) if fits else link_finished(start, folder)
        if start.leaves_trunk and start.state is not None:
            write_fork(folder, train, start.state)
    facts = {
        "overrides": list(overrides),
        "seed": train.seed,
        "run_folder": str(folder),
        "versions": versions(),
    }
    parts, of_task = list(start.finished if fits else ()), dict[str, Any]()
    with open_loggers(settings, train, folder) as loggers, logging_redirect_tqdm():  # lines above the bars
        for number in range(start.number, len(stages) if fits else start.number + 1):
            position, num_epochs = _position(plan, number, stages)
            if number:
                # A run that is resumed at the beginning of a stage draws the same numbers.
                pl.seed_everything(train.seed + number, workers=True, verbose=False)
            added = (endings, *callbacks)
            stage = StageRun(settings, train, stages, position, num_epochs, of_stages, folder, start, added)
            try:
                if fits:
                    part, of_task = stage.carry_out(data[number], loggers, parts[-1] if parts else None)
                else:
                    part, of_task = stage.evaluate(data[number], loggers)
            except UserError:
                if endings.status == "diverged":  # it has no scores, only a status
                    ended = {"status": endings.status, "reason": endings.reason, **facts}
                    _write_summary(folder, ended)
                    loggers.log_end(ended)
                raise
            parts.append(part)
            if endings.is_stopped:
                break

        schedule = whole_run(parts)
        if schedule["errors"]:
            endings.status, endings.reason = "failed", "; ".join(schedule["errors"])
        last = {key: value for key, value in parts[-1].items() if key not in OF_A_STAGE}
        content = {
            "status": endings.status or "finished",
            "reason": endings.reason,
            **of_task,
            **last,
            "schedule": schedule,
            **(fork_facts(folder, train, parts[-1]) if fits else {}),
            "seconds": time.perf_counter() - started,
            "epochs": parts[-1]["first_epoch"] + parts[-1]["epochs"],
            **facts,
            **({"stages": parts} if train.stages is not None and fits else {}),
        }
        summary: dict[str, Any] = finite(content)
        _write_summary(folder, summary)
        if present is not None:
            present(folder)
        loggers.log_end(summary, folder)
    return summary


def _write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    if is_main_process():
        write_json(folder / "summary.json", summary)


def check_outcome(summary: Mapping[str, Any]) -> None:
    """Fails a finished run that did not follow its plan.

    Arguments:
        summary: the content of `summary.json`.

    Raises:
        UserError: naming the first deviation.
    """
    if summary["status"] == "failed":
        raise UserError(f"the run left its plan: {summary['reason']}")


def _read_data(
    settings: Mapping[str, Any], train: TrainSettings, folder: Path, only: int | None = None
) -> dict[int, DataModule]:
    """Creates and reads the data of each stage, by its number; stages with the same `data` group share it.

    The report on the data of the first stage goes into the run folder, that on other data into a folder with the name
    of the stage.

    Arguments:
        settings: the groups of the config, plain.
        train: the train settings.
        folder: the run folder.
        only: number of the only stage whose data is read; None: all stages.
    """
    read: list[tuple[Mapping[str, Any], DataModule]] = []
    modules = {}
    for number, stage in enumerate(train.run_stages()):
        if only not in (None, number):
            continue
        group = stage.groups(settings)["data"]
        known = [module for other, module in read if other == group]
        if not known:
            known = [_read_group(group, train, folder / stage.name if read else folder)]
            read.append((group, known[0]))
        modules[number] = known[0]
    return modules


def _read_group(group: Mapping[str, Any], train: TrainSettings, folder: Path) -> DataModule:
    """Creates and reads data, and writes its report even if the data cannot be used."""
    data = create_data(group, train)
    try:
        data.prepare_data()
        data.setup("fit")
    finally:
        if is_main_process():
            folder.mkdir(exist_ok=True)
            data.write_report(folder)
    for line in data.describe():
        log.info("%s", line)
    return data


def _position(
    plan: Plan | StagedPlan | None, number: int, stages: Sequence[TrainStage[TrainSettings]]
) -> tuple[Position, int | None]:
    """Returns the position of a stage in its run, and its epochs if they are known."""
    if plan is None:
        first_epoch = sum(stage.epochs or 0 for stage in stages[:number])
        return Position(number=number, num_stages=len(stages), first_epoch=first_epoch), None
    steps, epochs = ([getattr(own, name) or 0 for own in plan.plans] for name in ("total_steps", "total_epochs"))
    position = Position(
        number=number,
        num_stages=len(plan.plans),
        first_step=sum(steps[:number]),
        first_epoch=sum(epochs[:number]),
        total_epochs=sum(epochs) if len(plan.plans) > 1 else None,
    )
    return position, plan.plans[number].total_epochs
