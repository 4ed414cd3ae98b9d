"""Carries out one run: data, model, trainer, fit, test, summary. It knows no domain."""

import importlib
import logging
import math
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from tqdm.contrib.logging import logging_redirect_tqdm

from partoken.config import check_trainer_keys, instantiate
from partoken.errors import UserError
from partoken.schedule import RunLength, ScheduleError, plan_run
from partoken.schedule.length import accumulated_batches, num_devices
from partoken.schedule.stages import needs_batches
from partoken.system.checkpoint import read_checkpoint
from partoken.system.files import write_json
from partoken.training.domain import DataModule
from partoken.training.freezing import StageFreezer
from partoken.training.module import ScheduledModule
from partoken.training.recorders import EpochTable, RateRecorder
from partoken.training.resume import ExactResume
from partoken.training.settings import TrainSettings
from partoken.training.trainer import (
    build_trainer,
    checkpoint_callbacks,
    is_main_process,
    open_loggers,
    quiet_lightning,
    stopping_callbacks,
)
from partoken.version import __version__

__all__ = ["Outcome", "carry_out", "check_outcome", "objective", "run"]

log = logging.getLogger(__name__)

WORST = 1e9
"""Objective, in size, of a run without a finite monitor: a NaN would end a whole sweep."""


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    folder: Path
    """The run folder."""
    summary: dict[str, Any]
    """The content of `summary.json`."""
    objective: float
    """The best value of `train.monitor`, for a sweeper to optimise."""
    is_main_process: bool
    """False in the further processes of a run on several devices, which write nothing."""


def run(cfg: DictConfig) -> Outcome:
    """Carries out the composed config of a Hydra job in its run folder; see `carry_out`."""
    job = HydraConfig.get()
    folder, settings = Path(job.runtime.output_dir), OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    groups = {str(name): group for name, group in settings.items()}
    summary = carry_out(groups, folder, in_sweep=job.mode == RunMode.MULTIRUN)
    best = objective(summary, groups["train"]["monitor_mode"])
    return Outcome(folder, summary, best, is_main_process=is_main_process())


def objective(summary: Mapping[str, Any], mode: str) -> float:
    """Returns the best monitored value; a run without a finite one counts as the worst.

    >>> objective({"monitor": {"best": None}}, "max")
    -1000000000.0
    """
    best: float | None = summary["monitor"]["best"]
    if best is not None:
        return best
    return WORST if mode == "min" else -WORST


def carry_out(settings: Mapping[str, Any], folder: Path, *, in_sweep: bool = False) -> dict[str, Any]:
    """Trains, validates and tests what the settings describe.

    It leaves `checkpoints/best.ckpt`, `checkpoints/last.ckpt`, `lr.csv`, `metrics.csv` and `summary.json` in the
    folder.

    Arguments:
        settings: the groups of the config, plain: `data` and `model` with their `_target_`, `train`, `trainer`, and
            optionally `logger`.
        folder: the run folder, which exists.
        in_sweep: the run is one of several jobs in this process.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: the config, the data or the checkpoint cannot be used.
    """
    started = time.perf_counter()
    quiet_lightning()
    log.info("run folder: %s", folder)
    train = TrainSettings.read(settings["train"])
    _check_before_reading(train, settings["trainer"], in_sweep)
    pl.seed_everything(train.seed, workers=True, verbose=False)

    data = _read_data(settings["data"], train, folder)
    _check_plans(train, settings["trainer"], data.num_train_batches(num_devices(settings["trainer"])))
    module: ScheduledModule = instantiate(settings["model"], "model", train=train.plain(), data=data.settings())
    stages = train.run_stages()
    rates, epochs = RateRecorder(folder / "lr.csv"), EpochTable(folder / "metrics.csv")
    best, last = checkpoint_callbacks(folder, train)
    callbacks = [rates, epochs, ExactResume(), StageFreezer(stages), *stopping_callbacks(train), best, last]
    arguments = dict(settings["trainer"])
    if train.stages is not None:
        arguments["max_epochs"] = sum(stage.epochs or 0 for stage in stages)
    with open_loggers(settings, train, folder) as loggers, logging_redirect_tqdm():  # lines above the bars
        trainer = build_trainer(arguments, module, folder, callbacks, loggers)
        _fit(trainer, module, data, train.resume_from, last)
        if train.resume_from is not None and not rates.steps_recorded:
            raise UserError(
                f"train.resume_from={train.resume_from}: nothing is left to train after {trainer.current_epoch} epochs "
                f"and {trainer.global_step} steps; raise train.epochs or trainer.max_steps"
            )
        schedule = rates.summary(trainer, module)
        tested = best.best_model_path or last.best_model_path
        trainer.test(module, datamodule=_lightning(data), ckpt_path=tested, verbose=False, weights_only=True)

    content = {
        **module.summary(),
        "epoch_line": list(module.epoch_line),
        "monitor": {"name": train.monitor, "best": best.best_model_score},
        "schedule": schedule,
        "num_parameters": sum(parameter.numel() for parameter in module.parameters()),
        f"{module.unit}_per_second": epochs.units_per_second,
        "seconds": time.perf_counter() - started,
        "best_checkpoint": str(tested),
        "best_epoch": read_checkpoint(tested)["epoch"],
        "epochs": trainer.current_epoch,
        "seed": train.seed,
        "run_folder": str(folder),
        "versions": _versions(),
    }
    summary: dict[str, Any] = _finite(content)
    if trainer.is_global_zero:
        write_json(folder / "summary.json", summary)
    return summary


def check_outcome(summary: Mapping[str, Any]) -> None:
    """Fails a finished run that did not follow its plan.

    Arguments:
        summary: the content of `summary.json`.

    Raises:
        UserError: naming the first deviation.
    """
    if errors := summary["schedule"]["errors"]:
        raise UserError("the run left its plan: " + "; ".join(errors))


def _check_before_reading(train: TrainSettings, trainer: Mapping[str, Any], in_sweep: bool) -> None:
    """Rejects settings that are wrong for any data, before the data is read."""
    check_trainer_keys(trainer)
    _check_plans(train, trainer, num_batches=None)
    if num_devices(trainer) > 1 and in_sweep:
        raise UserError(
            f"trainer.devices={trainer['devices']} inside -m: each further process would replay the whole sweep; "
            "run one job per command, or one device per job"
        )
    if train.resume_from is not None:
        read_checkpoint(train.resume_from)


def _check_plans(train: TrainSettings, trainer: Mapping[str, Any], num_batches: int | None) -> None:
    """Rejects an impossible schedule.

    Arguments:
        train: the train settings.
        trainer: the `trainer` group of the configuration.
        num_batches: training batches of an epoch on each device; None: unknown, and plans that need it are not made.
    """
    length = RunLength.of_trainer(trainer, num_batches)
    batch = train.batch_size * accumulated_batches(trainer) * num_devices(trainer)
    for name in train.optimizers or [""]:
        stages = train.run_stages(name)
        if train.scheduler is None and (num_batches or not needs_batches(stages, length.max_steps)):
            plan_run(stages, length, effective_batch=batch)


def _read_data(group: Mapping[str, Any], train: TrainSettings, folder: Path) -> DataModule:
    """Creates and reads the data, and writes its report even if the data cannot be used."""
    loading = {"batch_size": train.batch_size, "num_workers": train.num_workers, "seed": train.seed}
    data: DataModule = instantiate(group, "data", **loading)
    try:
        data.prepare_data()
        data.setup("fit")
    finally:
        if is_main_process():
            data.write_report(folder)
    for line in data.describe():
        log.info("%s", line)
    return data


def _fit(
    trainer: pl.Trainer, module: ScheduledModule, data: DataModule, resume_from: str | None, last: ModelCheckpoint
) -> None:
    try:
        trainer.fit(module, datamodule=_lightning(data), ckpt_path=resume_from, weights_only=True)
    except ScheduleError as error:
        # Once the optimizers exist, only the saved states can be wrong.
        source = f"train.resume_from={resume_from}: " if module.scheduled else ""
        raise UserError(f"{source}{error}") from error
    except MisconfigurationException as error:
        raise UserError(f"trainer: {error}") from error
    except SIGTERMException:
        log.warning("stopped by SIGTERM; continue with train.resume_from=%s", last.best_model_path or "null")
        sys.exit(143)  # the shell's convention for SIGTERM; with Lightning's 0 a job scheduler believes it is done


def _lightning(data: DataModule) -> pl.LightningDataModule:
    """A data module of the contract is a LightningDataModule; a protocol cannot say so."""
    return cast(pl.LightningDataModule, data)


def _versions() -> dict[str, str]:
    names = ("torch", "pytorch_lightning", "numpy", "hydra")
    libraries = {name: str(importlib.import_module(name).__version__) for name in names}
    return {"partoken": __version__, "python": platform.python_version(), **libraries}


def _finite(value: Any) -> Any:
    """Returns plain values, with None for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, torch.Tensor)):
        return float(value) if math.isfinite(value) else None
    return value
