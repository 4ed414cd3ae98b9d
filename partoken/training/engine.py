"""Carries out one run: data, model, trainer, fit, test, summary. It knows no domain."""

import contextlib
import importlib
import inspect
import logging
import math
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tqdm.contrib.logging import logging_redirect_tqdm

from partoken.errors import UserError, did_you_mean
from partoken.schedule import ScheduleError, plan_from_config
from partoken.system.checkpoint import read_checkpoint
from partoken.system.files import write_json
from partoken.training.freezing import StageFreezer
from partoken.training.module import ScheduledModule
from partoken.training.recorders import EpochTable, RateRecorder
from partoken.training.resume import AtomicCheckpointIO, ExactResume
from partoken.training.stages import read_stages
from partoken.version import __version__

__all__ = ["Outcome", "carry_out", "check_outcome", "objective", "quiet_lightning", "run"]

log = logging.getLogger(__name__)

UNKNOWN = 10**9  # stands for a length that only the data will tell, where all else is checked before it is read
OWN_ARGUMENTS = {"callbacks", "logger", "plugins", "default_root_dir", "enable_checkpointing", "fast_dev_run"}


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
    summary = carry_out(settings, folder, in_sweep=job.mode == RunMode.MULTIRUN)
    best = objective(summary, settings["train"]["monitor_mode"])
    return Outcome(folder, summary, best, is_main_process=rank_zero_only.rank == 0)


def objective(summary: Mapping[str, Any], mode: str) -> float:
    """Returns the best monitored value, or 1e9 on the losing side where there is none: a NaN would end a whole sweep.

    >>> objective({"monitor": {"best": None}}, "max")
    -1000000000.0
    """
    best = summary["monitor"]["best"]
    return best if best is not None else 1e9 if mode == "min" else -1e9


def carry_out(settings: dict[str, Any], folder: Path, *, in_sweep: bool = False) -> dict[str, Any]:
    """Trains, validates and tests what the settings describe.

    Leaves in the folder: `checkpoints/best.ckpt` and `last.ckpt`, `lr.csv`, `metrics.csv` and `summary.json`.

    Arguments:
        settings: the groups of the config, plain: `data` and `model` with their `_target_`, `train`, `trainer`, and
            `logger` where one is wanted.
        folder: the run folder, which exists.
        in_sweep: the run is one job of several in this process.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: the config, the data or the checkpoint cannot be used.
    """
    started = time.perf_counter()
    train = settings["train"]
    quiet_lightning()
    log.info("run folder: %s", folder)
    stages = _check(settings, in_sweep)
    pl.seed_everything(train["seed"], workers=True, verbose=False)

    data = _read_data(settings, folder)
    module: ScheduledModule = _instantiate(settings["model"], "model", train=train, data=data.settings())
    rates, epochs = RateRecorder(folder / "lr.csv"), EpochTable(folder / "metrics.csv")
    best, last = _checkpoints(folder, train)
    callbacks = [rates, epochs, ExactResume(), StageFreezer(stages), *_stopping(train), best, last]
    with _loggers(settings, folder) as loggers, logging_redirect_tqdm():  # lines above the bars, not through them
        lengths = {"max_epochs": sum(s["epochs"] for s in stages)} if len(stages) > 1 else {}
        trainer = _trainer({**settings["trainer"], **lengths}, folder, callbacks, loggers)
        if train["resume_from"] is not None:
            read_checkpoint(train["resume_from"])
        try:
            trainer.fit(module, datamodule=data, ckpt_path=train["resume_from"], weights_only=True)
        except ScheduleError as error:
            raise UserError(f"train.resume_from={train['resume_from']}: {error}") from error
        except SIGTERMException:
            log.warning("stopped by SIGTERM; go on with train.resume_from=%s", last.best_model_path or "null")
            sys.exit(143)  # the shell's convention for SIGTERM; Lightning's 0 tells a scheduler that the job is done
        schedule = rates.summary(trainer, module)
        chosen = best.best_model_path or last.best_model_path
        trainer.test(module, datamodule=data, ckpt_path=chosen, verbose=False, weights_only=True)

    summary = _finite(
        {
            **module.summary(),
            "monitor": {"name": train["monitor"], "best": _finite(best.best_model_score)},
            "schedule": schedule,
            "num_parameters": sum(p.numel() for p in module.parameters()),
            f"{module.unit}_per_second": epochs.units_per_second,
            "seconds": time.perf_counter() - started,
            "best_checkpoint": str(chosen),
            "best_epoch": read_checkpoint(chosen)["epoch"],
            "epochs": trainer.current_epoch,
            "seed": train["seed"],
            "run_folder": str(folder),
            "versions": _versions(),
        }
    )
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


def quiet_lightning() -> None:
    """Silences what Lightning says to everyone and means for nobody here, and what further devices would say again."""
    if rank_zero_only.rank:
        logging.getLogger("partoken").setLevel(logging.WARNING)
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "The .* does not have many workers",  # 0 workers is right where a batch takes a millisecond to load
        "The number of training batches",  # the log interval of a short epoch
        "Checkpoint directory .* exists",  # resuming in the run's own folder
        "The dirpath has changed",  # resuming in a new folder
        ".*isinstance.*LeafSpec.*",
        "Starting from v1.9.0, `tensorboardX`",
        "GPU available but not used",
    ):
        warnings.filterwarnings("ignore", message)


def _read_data(settings: Mapping[str, Any], folder: Path) -> pl.LightningDataModule:
    """Creates and reads the data, and writes down what was read also where it cannot be used."""
    train = settings["train"]
    loading = {name: train[name] for name in ("batch_size", "num_workers", "seed")}
    data = _instantiate(settings["data"], "data", **loading)
    try:
        data.prepare_data()
        data.setup("fit")
    finally:
        if rank_zero_only.rank == 0:
            data.write_report(folder)
    for line in data.describe():
        log.info("%s", line)
    return data


def _check(settings: Mapping[str, Any], in_sweep: bool) -> list[dict[str, Any]]:
    """Refuses what cannot be run whatever the data, before any is read; returns the stages of the run."""
    train, trainer = settings["train"], settings["trainer"]
    for key, least in (("epochs", 1), ("batch_size", 1), ("num_workers", 0)):
        if train[key] < least:
            raise UserError(f"train.{key}={train[key]}: must be at least {least}")
    if not train["lr"] > 0:
        raise UserError(f"train.lr={train['lr']}: must be above 0")
    if train["monitor_mode"] not in ("min", "max"):
        raise UserError(f"train.monitor_mode={train['monitor_mode']}: choose min or max")
    stages = read_stages(train)
    _check_schedule(stages, trainer)
    known = list(inspect.signature(pl.Trainer.__init__).parameters)[1:]
    for key in trainer:
        if key in OWN_ARGUMENTS:
            raise UserError(f"trainer.{key} is set by the run itself and cannot be given")
        if key not in known:
            raise UserError(f"trainer.{key} is no argument of Lightning's Trainer.{did_you_mean(key, known)}")
    several = trainer["devices"] not in (1, "1", "auto", None) or trainer["num_nodes"] != 1
    if several and in_sweep:
        raise UserError(
            f"trainer.devices={trainer['devices']} inside -m: each further process would replay the whole sweep; "
            "run one job a command, or one device a job"
        )
    return stages


def _check_schedule(stages: list[dict[str, Any]], trainer: Mapping[str, Any]) -> None:
    """Refuses the wrong settings of a schedule that can be told before the length of an epoch is known."""
    if stages[0]["scheduler"] is not None:
        return
    if len(stages) > 1 and trainer.get("max_steps", -1) != -1:
        raise UserError(f"trainer.max_steps={trainer['max_steps']}: the stages of train.stages end by their epochs")
    for stage in stages:
        epochs = stage["epochs"] if len(stages) > 1 else trainer["max_epochs"]
        if epochs == -1 and trainer.get("max_steps", -1) != -1:
            epochs = UNKNOWN
        steps = {"total_steps": UNKNOWN, "steps_per_epoch": 1} if stage["schedule_interval"] == "step" else {}
        try:
            plan_from_config(stage, total_epochs=epochs, **steps)
        except ScheduleError as error:
            raise UserError(str(error)) from error


def _instantiate(node: Mapping[str, Any], group: str, **arguments: Any) -> Any:
    """Creates what a config group describes; wrong arguments are the user's, all else is ours."""
    try:
        return hydra.utils.instantiate(dict(node), **arguments, _convert_="all", _recursive_=False)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        if unknown := re.search(r"unexpected keyword argument '(\w+)'", str(error.__cause__)):
            key = f"{group}.{unknown.group(1)}"
            raise UserError(f"{key} is not a setting of {node['_target_']}: leave it out, with ~{key}") from None
        if isinstance(error.__cause__, (TypeError, ImportError)) or "Error locating target" in str(error):
            raise UserError(f"{group}: {str(error).splitlines()[0]} ({error.__cause__})") from None
        raise


def _checkpoints(folder: Path, train: Mapping[str, Any]) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Creates the two checkpoint callbacks; Lightning's own `save_last` is refreshed only when the monitor improves."""
    common = dict(dirpath=folder / "checkpoints", enable_version_counter=False, auto_insert_metric_name=False)
    best = ModelCheckpoint(filename="best", monitor=train["monitor"], mode=train["monitor_mode"], **common)
    last = ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **common)
    return best, last


def _stopping(train: Mapping[str, Any]) -> list[Callback]:
    patience = train["early_stopping_patience"]
    if patience is None:
        return []
    if patience < 1:
        raise UserError(f"train.early_stopping_patience={patience}: must be at least 1, or null")
    return [EarlyStopping(train["monitor"], mode=train["monitor_mode"], patience=patience)]


def _trainer(arguments: dict[str, Any], folder: Path, callbacks: list[Callback], loggers: list[Any]) -> pl.Trainer:
    if arguments["enable_progress_bar"] and not sys.stderr.isatty():
        arguments = {**arguments, "enable_progress_bar": False}  # a bar in a log file is noise; epochs are logged
    if arguments["enable_progress_bar"]:
        callbacks = [*callbacks, TQDMProgressBar(refresh_rate=1)]
    try:
        return pl.Trainer(
            **arguments,
            callbacks=callbacks,
            logger=loggers or False,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=folder,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {error}") from error


@contextlib.contextmanager
def _loggers(settings: Mapping[str, Any], folder: Path) -> Iterator[list[Any]]:
    """Creates the loggers of the run and closes them whatever happens, so that no job logs into another's run."""
    train = settings["train"]
    nodes = [settings["logger"]] if settings.get("logger") else []
    if train["use_wandb"]:
        os.environ.setdefault("WANDB_MODE", "offline")  # without an account a run must not fail
        wandb = {"project": train["wandb_project"], "save_dir": str(folder)}
        nodes.append({"_target_": "pytorch_lightning.loggers.WandbLogger", **wandb})
    loggers = []
    status = "failed"
    try:
        loggers = [_instantiate(node, "logger") for node in nodes]
        for logger in loggers:
            logger.log_hyperparams({k: v for k, v in settings.items() if k != "logger"})
        yield loggers
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish()


def _versions() -> dict[str, str]:
    names = ("torch", "pytorch_lightning", "numpy", "hydra")
    found = {name: importlib.import_module(name).__version__ for name in names}
    return {"partoken": __version__, "python": platform.python_version(), **found}


def _finite(value: Any) -> Any:
    """Returns plain values with None for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, (float, torch.Tensor)):
        return float(value) if math.isfinite(value) else None
    return value
