"""The base of every model that is trained here: its optimizer and its schedule come from the train config."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.schedule import Plan, ScheduleError, describe_change, plan_from_config, scaled_lr
from partoken.training.optim import build_optimizer, build_scheduler

__all__ = ["ScheduledModule"]

log = logging.getLogger(__name__)

CHECKPOINT_KEY = "partoken_plan"


class ScheduledModule(pl.LightningModule):
    """Creates a LightningModule that follows the plan of its train config.

    The plan is made when the optimizer is, from the counts of the trainer. It moves only when the optimizer has really
    stepped, and travels in the checkpoint with the number of steps, so that a resume can tell whether the requested
    plan is the one that the run began with (`train.on_schedule_change`).

    Arguments:
        train: the train config, plain.
    """

    unit = "batches"  # what `batch_units` counts; speed is reported in it
    epoch_line: tuple[str, ...] = ("train_loss", "val_loss")  # metrics on the line that is logged each epoch

    def __init__(self, train: Mapping[str, Any]) -> None:
        super().__init__()
        self.train_settings = dict(train)
        self.plan: Plan | None = None
        self.optimizer_steps = 0
        self.before_optimizer_step: Callable[[], None] = lambda: None
        self._loaded: dict[str, Any] | None = None

    def batch_units(self, batch: Any) -> int:
        """Counts what a batch holds, in `unit`."""
        return 1

    def summary(self) -> dict[str, Any]:
        """Returns what the test found; `test` holds its scores."""
        return {"test": {k: float(v) for k, v in self.trainer.callback_metrics.items()}}

    def configure_optimizers(self) -> Any:
        """Returns the optimizer and a `LambdaLR` over the plan, or the scheduler that `train.scheduler` names."""
        train = self.train_settings
        lr = self._peak_rate()
        optimizer = build_optimizer(self, train, lr)
        optimizer.register_step_pre_hook(lambda *_: self.before_optimizer_step())
        optimizer.register_step_post_hook(lambda *_: self._count_step())
        if train["scheduler"] is not None:
            return {"optimizer": optimizer, "lr_scheduler": build_scheduler(train, optimizer)}
        try:
            self.plan = plan_from_config({**train, "lr": lr}, **trainer_counts(self.trainer))
        except ScheduleError as error:
            raise UserError(str(error)) from error
        scheduler = self.plan.scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": self.plan.interval, "frequency": 1}}
