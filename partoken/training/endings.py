"""Ends of a run before its plan: a loss or a weight that is not finite, and a request in the run folder."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from partoken.errors import UserError
from partoken.system.checkpoint import non_finite_weight
from partoken.system.run_folder import check_still_there
from partoken.system.run_status import STOP_FILE
from partoken.training.module import ScheduledModule, scheduled_module

__all__ = ["Endings"]

log = logging.getLogger(__name__)

READ_EVERY = 50
"""Batches after which the loss is checked where the check takes time."""


class Endings(pl.Callback):
    """Stops a run whose loss or weights are not finite, whose folder was deleted, and a run that is asked to stop.

    They are checked before a checkpoint is written, so every checkpoint is of an epoch with finite losses and weights.

    Arguments:
        folder: the run folder; `stop` in it ends the run after the current epoch, with its test and its summary. The
            file may be empty, or hold what `request_stop` writes.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / STOP_FILE
        self.path.unlink(missing_ok=True)  # of an earlier run
        self.status: str | None = None
        self.reason: str | None = None
        self._is_finite: Tensor | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the run shall not go on with its next stage."""
        return self.status is not None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            check_still_there(self.path.parent)
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            return
        is_finite = torch.isfinite(loss.detach()).all()
        self._is_finite = is_finite if self._is_finite is None else self._is_finite & is_finite
        # Reading the flag makes a GPU, or another process, wait, so there it is not read at every step.
        is_cheap = loss.device.type == "cpu" and trainer.world_size == 1
        if is_cheap or batch_idx % READ_EVERY == 0:
            self._check_flag(trainer, scheduled_module(pl_module))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._check_metric(trainer, pl_module, "val_loss")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_flag(trainer, scheduled_module(pl_module))
        self._check_metric(trainer, pl_module, "train_loss")
        if trainer.strategy.broadcast(self.path.exists()):
            self._stop(trainer, scheduled_module(pl_module).run_epoch)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if name := non_finite_weight(checkpoint["state_dict"]):
            self._diverge(scheduled_module(pl_module), f"the weight {name}")

    def _check_flag(self, trainer: pl.Trainer, module: ScheduledModule) -> None:
        if self._is_finite is None:
            return
        is_finite, self._is_finite = bool(self._is_finite), None
        if not trainer.strategy.reduce_boolean_decision(is_finite, all=True):
            self._diverge(module, "the training loss")

    def _check_metric(self, trainer: pl.Trainer, pl_module: pl.LightningModule, name: str) -> None:
        value = trainer.callback_metrics.get(name)
        if value is not None and not math.isfinite(float(value)):
            self._diverge(scheduled_module(pl_module), name)

    def _diverge(self, module: ScheduledModule, name: str) -> None:
        stage = f"stage {module.stage.name}, " if module.stage.name else ""
        place = f"{stage}epoch {module.run_epoch + 1}, after {module.optimizer_steps} optimizer steps"
        self.status = "diverged"
        self.reason = f"{name} is not a finite number ({place})"
        key = f"{module.stage.settings.key('lr')}={module.stage.settings.lr:g}"
        raise UserError(
            f"{name} is not a finite number ({place}): lower {key}, warm up longer, or clip gradients "
            "(trainer.gradient_clip_val)"
        )

    def _stop(self, trainer: pl.Trainer, epoch: int) -> None:
        text = self.path.read_text() if self.path.exists() else ""
        asked = json.loads(text) if text.strip() else {}
        self.status = asked.get("status", "finished")
        self.reason = asked.get("reason", f"the file {STOP_FILE} ended it after epoch {epoch + 1}")
        log.info("stopping after epoch %d: %s", epoch + 1, self.reason)
        trainer.should_stop = True
