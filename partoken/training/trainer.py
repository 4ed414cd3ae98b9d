"""Building Lightning's Trainer with its checkpoints, its early stopping and its loggers."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from partoken.config import instantiate
from partoken.errors import UserError
from partoken.training.module import ManualSteps, ScheduledModule
from partoken.training.resume import AtomicCheckpointIO
from partoken.training.settings import TrainSettings

__all__ = [
    "build_trainer",
    "checkpoint_callbacks",
    "is_main_process",
    "open_loggers",
    "quiet_lightning",
    "stopping_callbacks",
]

FOR_EVERYONE = (
    "The .* does not have many workers",  # 0 workers is right if a batch takes a millisecond to load
    "The number of training batches",  # the log interval of a short epoch
    "Checkpoint directory .* exists",  # resuming in the run's own folder
    "The dirpath has changed",  # resuming in a new folder
    ".*isinstance.*LeafSpec.*",
    "Starting from v1.9.0, `tensorboardX`",
    "GPU available but not used",
)
"""Beginnings of Lightning's warnings that tell users of this package nothing."""


def is_main_process() -> bool:
    """Returns whether this process writes the run folder; a run on several devices has further processes."""
    rank: int = getattr(rank_zero_only, "rank", 0)
    return rank == 0


def quiet_lightning() -> None:
    """Silences messages of Lightning that concern nobody here, and repeats of messages on further devices."""
    if not is_main_process():
        logging.getLogger("partoken").setLevel(logging.WARNING)
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in FOR_EVERYONE:
        warnings.filterwarnings("ignore", message)


def checkpoint_callbacks(folder: Path, settings: TrainSettings) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Creates the callbacks that write `best.ckpt` and `last.ckpt`.

    There are two, because Lightning's `save_last` writes only when the monitor has improved.
    """
    common: dict[str, Any] = dict(
        dirpath=folder / "checkpoints", enable_version_counter=False, auto_insert_metric_name=False
    )
    best = ModelCheckpoint(filename="best", monitor=settings.monitor, mode=settings.monitor_mode, **common)
    last = ModelCheckpoint(filename="last", save_on_train_epoch_end=True, **common)
    return best, last


def stopping_callbacks(settings: TrainSettings) -> list[Callback]:
    """Creates the callback of `train.early_stopping_patience`, if it is set."""
    patience = settings.early_stopping_patience
    if patience is None:
        return []
    return [EarlyStopping(settings.monitor, mode=settings.monitor_mode, patience=patience)]


def build_trainer(
    arguments: Mapping[str, Any],
    module: ScheduledModule,
    folder: Path,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
) -> pl.Trainer:
    """Creates the trainer of a run.

    Arguments:
        arguments: the `trainer` group of the configuration.
        module: if it steps its optimizers itself, it gets accumulation and clipping, which Lightning would refuse.
        folder: the run folder.
        callbacks: of the run.
        loggers: of the run.

    Raises:
        UserError: an argument that Lightning refuses.
    """
    arguments, callbacks = dict(arguments), list(callbacks)
    if not module.automatic_optimization:
        module.manual_steps = _take_manual_steps(arguments, len(module.optimizer_modules()))
    if arguments.get("enable_progress_bar", True) and not sys.stderr.isatty():
        arguments["enable_progress_bar"] = False  # a bar in a log file is noise; epochs are logged
    if arguments.get("enable_progress_bar", True):
        callbacks.append(TQDMProgressBar(refresh_rate=1))
    try:
        return pl.Trainer(
            **arguments,
            callbacks=callbacks,
            logger=list(loggers) or False,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=folder,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {error}") from error


@contextlib.contextmanager
def open_loggers(settings: Mapping[str, Any], train: TrainSettings, folder: Path) -> Iterator[list[Logger]]:
    """Creates the loggers of the run and closes them even after an error, so that no job logs into another job's run.

    Arguments:
        settings: the groups of the configuration; all but `logger` are logged as hyper-parameters.
        train: the train settings.
        folder: the run folder.
    """
    nodes = [settings["logger"]] if settings.get("logger") else []
    if train.use_wandb:
        os.environ.setdefault("WANDB_MODE", "offline")  # without an account a run must not fail
        options = {"project": train.wandb_project, "save_dir": str(folder)}
        nodes.append({"_target_": "pytorch_lightning.loggers.WandbLogger", **options})
    loggers: list[Logger] = []
    status = "failed"
    try:
        loggers = [instantiate(node, "logger") for node in nodes]
        for logger in loggers:
            logger.log_hyperparams({key: value for key, value in settings.items() if key != "logger"})
        yield loggers
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish()


def _take_manual_steps(arguments: dict[str, Any], num_optimizers: int) -> ManualSteps:
    """Takes accumulation and clipping out of the trainer's arguments; its `max_steps` counts all optimizers."""
    if arguments.get("max_steps", -1) != -1:
        arguments["max_steps"] *= num_optimizers
    return ManualSteps(
        accumulate=arguments.pop("accumulate_grad_batches", 1),
        clip_value=arguments.pop("gradient_clip_val", None),
        clip_algorithm=arguments.pop("gradient_clip_algorithm", None),
    )
