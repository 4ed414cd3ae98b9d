"""Checkpoints within an epoch: after a number of steps or minutes, and when a signal ends the training."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.exceptions import SIGTERMException

from partoken.resume_keys import CheckpointSettings
from partoken.system.files import copy_file, sync_folder
from partoken.training.epoch_state import validates_next
from partoken.training.module import ScheduledModule, scheduled_module, steps_window
from partoken.training.resume import BestCheckpoint, ResumableLoader

__all__ = ["LastCheckpoint"]


class LastCheckpoint(ModelCheckpoint):
    """Writes `last.ckpt` at the end of each epoch, and within epochs as often as the settings say.

    Within an epoch it is written at the end of an optimizer step, if the training data can continue there. A signal
    that ends the training writes it at once, also between the batches of a step and in a validation. On several devices
    a signal waits for the end of the step, because each device has gradients of its own.

    Arguments:
        settings: how often it is written.
        options: of ModelCheckpoint.
    """

    def __init__(self, settings: CheckpointSettings, **options: Any) -> None:
        super().__init__(filename="last", save_on_train_epoch_end=True, **options)
        self.settings = settings
        self._saved_at = 0.0
        self._saved_steps = 0

    @property
    def path(self) -> str:
        """The file that is written."""
        assert self.dirpath is not None
        return str(Path(self.dirpath) / f"{self.filename}{self.FILE_EXTENSION}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._note_saved(scheduled_module(pl_module))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not _can_continue_within(trainer) or (_ends_epoch(trainer) and not validates_next(trainer)):
            return  # the checkpoint of the epoch follows at once
        module, is_single = scheduled_module(pl_module), trainer.world_size == 1
        is_whole = (batch_idx + 1) % steps_window(module) == 0 or _ends_epoch(trainer)
        if is_whole and self._agree(trainer, trainer.received_sigterm or self._is_due(module)):
            self._save(trainer, module)
        elif is_single and trainer.received_sigterm:
            self._save(trainer, module)
        if is_single and trainer.received_sigterm:
            raise SIGTERMException

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        is_training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if is_training and trainer.received_sigterm and trainer.world_size == 1 and _can_continue_within(trainer):
            self._save(trainer, scheduled_module(pl_module))
            raise SIGTERMException

    def on_test_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.received_sigterm:
            raise SIGTERMException  # a resumed run begins its test again

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self._note_saved(scheduled_module(pl_module))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Knows the file again, also in another folder, to which it was copied."""
        if Path(self.path).is_file():
            self.best_model_path = self.path

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        """Writes the file at the end of an epoch; copies `best.ckpt` if that was written there just before."""
        best = next((item for item in trainer.checkpoint_callbacks if isinstance(item, BestCheckpoint)), None)
        if best is None or not best.is_of_epoch_end:
            super()._save_checkpoint(trainer, filepath)
            return
        if trainer.is_global_zero:
            copy_file(Path(best.best_model_path), Path(filepath))
            sync_folder(Path(filepath).parent)
        trainer.strategy.barrier()
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath

    def _is_due(self, module: ScheduledModule) -> bool:
        steps, minutes = self.settings.every_n_steps, self.settings.every_minutes
        taken, passed = module.optimizer_steps - self._saved_steps, time.monotonic() - self._saved_at
        return (steps is not None and taken >= steps) or (minutes is not None and passed >= 60 * minutes)

    def _agree(self, trainer: pl.Trainer, decision: bool) -> bool:
        """Returns the decision of any device, because all of them have to write together."""
        if trainer.world_size == 1:
            return decision
        return trainer.strategy.reduce_boolean_decision(decision, all=False)

    def _save(self, trainer: pl.Trainer, module: ScheduledModule) -> None:
        trainer.save_checkpoint(self.path)
        self.best_model_path = self.path
        self._note_saved(module)

    def _note_saved(self, module: ScheduledModule) -> None:
        self._saved_at, self._saved_steps = time.monotonic(), module.optimizer_steps


def _can_continue_within(trainer: pl.Trainer) -> bool:
    """Returns whether the training can go on within the epoch: its data can, and no step is the last of the run."""
    return isinstance(trainer.train_dataloader, ResumableLoader) and not trainer.should_stop


def _ends_epoch(trainer: pl.Trainer) -> bool:
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()
