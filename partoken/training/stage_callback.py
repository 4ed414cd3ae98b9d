"""Freezing, the ramp of the loss, and the preparation of a stage, while Lightning trains it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl

from partoken.training.module import ScheduledModule, run_length, scheduled_module
from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage

__all__ = ["StageCallback"]


class StageCallback(pl.Callback):
    """Carries out the settings of a stage that act while it is trained.

    It prepares the model before the first step. It freezes parts, and unfreezes the others, at the start of each epoch.
    It moves the weights of the loss before each training batch; evaluation always has those of the stage, so that the
    losses of all epochs can be compared.

    Arguments:
        stage: that is trained.
        num_epochs: its epochs; None: unknown.
        ramp_from: weights of the loss before the stage; a missing one counts as 0.
    """

    def __init__(
        self, stage: TrainStage[TrainSettings], num_epochs: int | None, ramp_from: Mapping[str, float] | None = None
    ) -> None:
        self.stage = stage
        self.num_epochs = num_epochs
        self.ramp_from = ramp_from or {}
        self._weights: dict[str, float] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stage.check_model(pl_module)
        self._weights = dict(scheduled_module(pl_module).loss_weights)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = scheduled_module(pl_module)
        self._freeze(trainer.current_epoch, module)  # a resumed epoch does not start again
        if not trainer.fit_loop.restarting:
            self.stage.prepare(module, _training_batches(trainer))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._freeze(trainer.current_epoch, scheduled_module(pl_module))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.stage.ramp_epochs:
            module = scheduled_module(pl_module)
            module.loss_weights = self._ramped(self._progress(module))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        scheduled_module(pl_module).loss_weights = dict(self._weights)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        scheduled_module(pl_module).loss_weights = dict(self._weights)

    def _freeze(self, epoch: int, module: ScheduledModule) -> None:
        module.freeze_parts(self.stage.frozen(epoch, self.num_epochs))

    def _progress(self, module: ScheduledModule) -> float:
        """Returns the fraction of the ramp that is over, at most 1; it moves with the optimizer's steps."""
        steps_per_epoch = run_length(module).steps_per_epoch
        epochs = module.optimizer_steps / steps_per_epoch if steps_per_epoch else module.current_epoch
        return min(1.0, epochs / self.stage.ramp_epochs)

    def _ramped(self, progress: float) -> dict[str, float]:
        start = {name: self.ramp_from.get(name, 0.0) for name in self._weights}
        return {name: start[name] + (end - start[name]) * progress for name, end in self._weights.items()}


def _training_batches(trainer: pl.Trainer) -> Iterator[Any]:
    """Yields the batches of a training epoch, on the device of the model."""
    assert trainer.train_dataloader is not None, "Lightning has made it before the training starts"
    for batch in trainer.train_dataloader:
        yield trainer.strategy.batch_to_device(batch)
