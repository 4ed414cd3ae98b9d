"""Building Lightning's Trainer of one stage, with its checkpoints, its early stopping and its progress bar."""

import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from partoken.errors import UserError
from partoken.resume_keys import CheckpointSettings
from partoken.schedule.length import num_devices
from partoken.training.module import ManualSteps, ScheduledModule, scheduled_module
from partoken.training.overfit import WHOLE
from partoken.training.profile import build_profiler
from partoken.training.recorders import total_epochs
from partoken.training.resume import AtomicCheckpointIO, BestCheckpoint, Patience
from partoken.training.saving import LastCheckpoint
from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage

__all__ = [
    "build_trainer",
    "checkpoint_callbacks",
    "is_main_process",
    "quiet_lightning",
    "stopping_callbacks",
]

log = logging.getLogger(__name__)

FOR_EVERYONE = (
    "The .* does not have many workers",  # 0 workers is right if a batch takes a millisecond to load
    "The number of training batches",  # the log interval of a short epoch
    "Checkpoint directory .* exists",  # resuming in the run's own folder
    "The dirpath has changed",  # resuming in a new folder
    ".*isinstance.*LeafSpec.*",
    "Starting from v1.9.0, `tensorboardX`",
    "GPU available but not used",
    "Found .* in eval mode",  # frozen parts compute as in evaluation
)
"""Beginnings of Lightning's warnings that tell users of this package nothing."""


def is_main_process() -> bool:
    """Returns whether this process writes the run folder; a run on several devices has further processes."""
    rank: int = getattr(rank_zero_only, "rank", 0)
    return rank == 0


def quiet_lightning() -> None:
    """Silences messages of Lightning that concern nobody here, and repeats of messages on further devices."""
    if not is_main_process():
        logging.getLogger("partoken").setLevel(logging.ERROR)  # all processes would warn of the same
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if is_main_process():  # what `trainer.enable_model_summary` and `callbacks=model_summary` ask for
        logging.getLogger("pytorch_lightning.callbacks.model_summary").setLevel(logging.INFO)
    for message in FOR_EVERYONE:
        warnings.filterwarnings("ignore", message)


def checkpoint_callbacks(
    folder: Path, settings: TrainSettings, within_epochs: CheckpointSettings
) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Creates the callbacks that write `best.ckpt` and `last.ckpt`.

    There are two, because Lightning's `save_last` writes only when the monitor has improved.

    Arguments:
        folder: the run folder.
        settings: `monitor` and `monitor_mode` are read.
        within_epochs: how often `last.ckpt` is written.
    """
    common: dict[str, Any] = dict(
        dirpath=folder / "checkpoints", enable_version_counter=False, auto_insert_metric_name=False
    )
    best = BestCheckpoint(filename="best", monitor=settings.monitor, mode=settings.monitor_mode, **common)
    return best, LastCheckpoint(within_epochs, **common)


def stopping_callbacks(settings: TrainSettings) -> list[Callback]:
    """Creates the callback of `train.early_stopping_patience`, if it is set."""
    patience = settings.early_stopping_patience
    if patience is None:
        return []
    return [Patience(settings.monitor, mode=settings.monitor_mode, patience=patience)]


def build_trainer(
    arguments: Mapping[str, Any],
    module: ScheduledModule,
    folder: Path,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
) -> pl.Trainer:
    """Creates the trainer of a stage.

    Arguments:
        arguments: the `trainer` group of the configuration.
        module: the task at its position in the run. If it steps its optimizers itself, it gets accumulation and
            clipping, which Lightning would refuse.
        folder: the run folder.
        callbacks: of the stage.
        loggers: of the stage.

    Raises:
        UserError: an argument that Lightning refuses.
    """
    arguments, callbacks = {**arguments, **_limits(module.stage)}, list(callbacks)
    if arguments.get("strategy") == "ddp_spawn":
        log.warning("trainer.strategy=ddp_spawn: the processes are started as with ddp, which gives the same numbers")
        arguments["strategy"] = "ddp"
    if num_devices(arguments) > 1 and arguments.get("strategy", "auto") in ("auto", "ddp"):
        unused = str(_has_resting_parameters(module)).lower()
        arguments["strategy"] = f"ddp_find_unused_parameters_{unused}"
    if arguments.pop("overfit_batches", None):
        arguments |= WHOLE  # of `RepeatedBatches`
    arguments["profiler"] = build_profiler(arguments.get("profiler"), folder, module.stage.name)
    if not module.automatic_optimization:
        module.manual_steps = _take_manual_steps(arguments, len(module.optimizer_modules()))
    if arguments.get("enable_progress_bar", True) and not sys.stderr.isatty():
        arguments["enable_progress_bar"] = False  # a bar in a log file is noise; epochs are logged
    if arguments.get("enable_progress_bar", True):
        callbacks.append(RunProgressBar(refresh_rate=1))
    try:
        return pl.Trainer(
            **arguments,
            callbacks=callbacks,
            logger=list(loggers) or False,
            plugins=[AtomicCheckpointIO(folder)],
            default_root_dir=folder,
        )
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"trainer: {error}") from error


class RunProgressBar(TQDMProgressBar):
    """Lightning's progress bar, with the epochs of the whole run and the name of the stage."""

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        module = scheduled_module(trainer.lightning_module)
        stage = f"{module.stage.name}, " if module.stage.name else ""
        epoch = f"epoch {module.run_epoch + 1}/{total_epochs(trainer, module.position)}"
        self.train_progress_bar.set_description(f"{stage}{epoch}")


def _has_resting_parameters(module: ScheduledModule) -> bool:
    """Returns whether a backward pass may leave out parameters: frozen ones, or those of another optimizer.

    Devices would wait for their gradients without end.
    """
    return bool(module.stage.freeze or module.stage.freeze_last or not module.automatic_optimization)


def _limits(stage: TrainStage[TrainSettings]) -> dict[str, int]:
    """Returns the limits of a stage that has a length of its own, as Lightning has them; -1 is none."""
    if not stage.has_length:
        return {}
    return {"max_epochs": stage.epochs or -1, "max_steps": stage.steps or -1}


def _take_manual_steps(arguments: dict[str, Any], num_optimizers: int) -> ManualSteps:
    """Takes accumulation and clipping out of the trainer's arguments; its `max_steps` counts all optimizers."""
    if arguments.get("max_steps", -1) != -1:
        arguments["max_steps"] *= num_optimizers
    return ManualSteps(
        accumulate=arguments.pop("accumulate_grad_batches", 1),
        clip_value=arguments.pop("gradient_clip_val", None),
        clip_algorithm=arguments.pop("gradient_clip_algorithm", None),
    )
