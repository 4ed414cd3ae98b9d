"""The end of a fork, which may lie within an epoch."""

from typing import Any

import pytorch_lightning as pl

from partoken.training.module import scheduled_module

__all__ = ["EndAtStep"]


class EndAtStep(pl.Callback):
    """Ends a fork after the last step of its plan, also within an epoch, and lets it validate there."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = scheduled_module(pl_module)
        if module.plan is not None and module.plan.interval == "step" and module.optimizer_steps >= module.plan.length:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1
