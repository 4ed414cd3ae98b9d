"""The loggers of a run, which every stage uses."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from partoken.config import instantiate
from partoken.training.settings import TrainSettings
from partoken.training.stages import Position

__all__ = ["StageLogger", "open_loggers", "stage_loggers"]


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


def stage_loggers(loggers: Sequence[Logger], position: Position) -> list[Logger]:
    """Returns the loggers of a run as a stage at this position uses them."""
    return [StageLogger(logger, position) for logger in loggers]


class StageLogger(Logger):
    """A logger of the run for the trainer of one stage, which counts steps and epochs from its own beginning.

    The steps and epochs that it hands on count from the beginning of the run. The run logs the hyper-parameters and
    closes the logger itself.

    Arguments:
        logger: of the run.
        position: of the stage in its run.
    """

    def __init__(self, logger: Logger, position: Position) -> None:
        super().__init__()
        self.logger = logger
        self.position = position

    @property
    def name(self) -> str | None:
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        return self.logger.save_dir

    @property
    def experiment(self) -> Any:
        """The object of the logging library; see Lightning's documentation of the logger."""
        return getattr(self.logger, "experiment", None)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "epoch" in metrics:
            metrics = {**metrics, "epoch": metrics["epoch"] + self.position.first_epoch}
        self.logger.log_metrics(metrics, None if step is None else step + self.position.first_step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the run has logged its whole configuration."""

    def save(self) -> None:
        self.logger.save()

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.logger.after_save_checkpoint(checkpoint_callback)

    def finalize(self, status: str) -> None:
        """Saves what was logged; the run closes the logger after its last stage."""
        self.logger.save()
