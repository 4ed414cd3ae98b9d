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
from partoken.training.skipping import named_batch

__all__ = ["Endings"]

log = logging.getLogger(__name__)

READ_EVERY = 50
"""Batches after which the loss is checked where the check takes time."""


class Endings(pl.Callback):
    """Stops a run whose loss or weights are not finite, whose folder was deleted, and a run that is asked to stop.

    They are checked before a checkpoint is written, so every checkpoint is of an epoch with finite losses and weights.
    With `train.on_nonfinite=skip` the run stops only when an epoch has no batch left, or for another reason.

    Arguments:
        folder: the run folder; `stop` in it ends the run after the current epoch, with its test and its summary. The
            file may be empty, or hold what `request_stop` writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / STOP_FILE
        self.path.unlink(missing_ok=True)  # of an earlier run
        self.status: str | None = None
        self.reason: str | None = None
        self._unread: list[tuple[Tensor, str, int]] = []

    @property
    def is_stopped(self) -> bool:
        """Whether the run shall not go on with its next stage."""
        return self.status is not None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            check_still_there(self.folder)
        loss, module = outputs.get("loss") if isinstance(outputs, dict) else outputs, scheduled_module(pl_module)
        if not isinstance(loss, Tensor) or module.skipper is not None:
            return
        self._unread.append((torch.isfinite(loss.detach()).all(), named_batch(batch), module.optimizer_steps))
        if is_cheap(loss, trainer) or batch_idx % READ_EVERY == 0:
            self._check_losses(trainer, module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_losses(trainer, scheduled_module(pl_module))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._check_metric(trainer, pl_module, "val_loss")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = scheduled_module(pl_module)
        self._check_losses(trainer, module)
        if module.skipper is not None and module.skipper.has_skipped_all:
            self._diverge(module, "every training loss of this epoch")
        self._check_metric(trainer, pl_module, "train_loss")
        if trainer.strategy.broadcast(self.path.exists()):
            self._stop(trainer, module.run_epoch)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if name := non_finite_weight(checkpoint["state_dict"]):
            self._diverge(scheduled_module(pl_module), f"the weight {name}")

    def _check_losses(self, trainer: pl.Trainer, module: ScheduledModule) -> None:
        """Reads the flags of the batches since the last check, and names the first one that is not finite."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        flags = torch.stack([flag for flag, _, _ in unread]).tolist()
        bad = next((item[1:] for flag, item in zip(flags, unread, strict=True) if not flag), None)
        if not trainer.strategy.reduce_boolean_decision(bad is None, all=True):
            names, steps = bad or ("", module.optimizer_steps)
            self._diverge(module, "the training loss", names, steps)

    def _check_metric(self, trainer: pl.Trainer, pl_module: pl.LightningModule, name: str) -> None:
        value = trainer.callback_metrics.get(name)
        if value is not None and not math.isfinite(float(value)):
            self._diverge(scheduled_module(pl_module), name)

    def _diverge(self, module: ScheduledModule, name: str, batch: str = "", steps: int | None = None) -> None:
        """Ends the run.

        Arguments:
            module: the task.
            name: what is not finite.
            batch: the samples in which that was seen, if they are known.
            steps: optimizer steps of the stage at that time; None: until now.
        """
        stage = f"stage {module.stage.name}, " if module.stage.name else ""
        steps = module.optimizer_steps if steps is None else steps
        place = f"{stage}epoch {module.run_epoch + 1}, after {steps} optimizer steps"
        self.status = "diverged"
        self.reason = f"{name} is not a finite number{batch} ({place})"
        key = f"{module.stage.settings.key('lr')}={module.stage.settings.lr:g}"
        skip = ", or leave such batches out (train.on_nonfinite=skip)" if batch else ""
        raise UserError(
            f"{name} is not a finite number{batch} ({place}): lower {key}, warm up longer, clip gradients "
            f"(trainer.gradient_clip_val){skip}; {self._last_checkpoint()}"
        )

    def _last_checkpoint(self) -> str:
        """Names the newest checkpoint of the run; all are finite."""
        written = (self.folder / "checkpoints").glob("*.ckpt")
        newest = max(written, key=lambda path: path.stat().st_mtime, default=None)
        return f"the last finite checkpoint is {newest}" if newest else "no checkpoint was written yet"

    def _stop(self, trainer: pl.Trainer, epoch: int) -> None:
        text = self.path.read_text() if self.path.exists() else ""
        asked = json.loads(text) if text.strip() else {}
        self.status = asked.get("status", "finished")
        self.reason = asked.get("reason", f"the file {STOP_FILE} ended it after epoch {epoch + 1}")
        log.info("stopping after epoch %d: %s", epoch + 1, self.reason)
        trainer.should_stop = True


def is_cheap(loss: Tensor, trainer: pl.Trainer) -> bool:
    """Returns whether a flag can be read at every step; reading it makes a GPU, or another process, wait."""
    return loss.device.type == "cpu" and trainer.world_size == 1
