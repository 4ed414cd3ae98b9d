"""Freezing parts of the model, stage by stage."""

import logging
from collections.abc import Sequence

import pytorch_lightning as pl
from torch import nn

from partoken.errors import UserError, did_you_mean
from partoken.schedule import Stage
from partoken.training.module import ScheduledModule, scheduled_module
from partoken.training.settings import TrainSettings

__all__ = ["StageFreezer"]

log = logging.getLogger(__name__)


class StageFreezer(pl.Callback):
    """Freezes the parts that the current stage names, and unfreezes the others, at the start of each epoch.

    Arguments:
        stages: of the run, in order.
    """

    def __init__(self, stages: Sequence[Stage[TrainSettings]]) -> None:
        self.names = [stage.name for stage in stages]
        self.lengths = [stage.epochs for stage in stages]
        self.settings = [stage.settings for stage in stages]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = [name for name, _ in pl_module.named_modules() if name]
        for number in range(len(self.settings)):
            for name in self._frozen(number):
                if name not in names:
                    key = f"{self.settings[number].key('freeze')}={name}"
                    parts = _top_parts(pl_module)
                    raise UserError(f"{key}: the model has no such part.{did_you_mean(name, names)} Parts: {parts}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fit_loop.restarting:  # a resumed epoch does not start again
            self._apply(trainer.current_epoch, scheduled_module(pl_module))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._apply(trainer.current_epoch, scheduled_module(pl_module))

    def _apply(self, epoch: int, module: ScheduledModule) -> None:
        number, first_epoch = self._stage(epoch)
        frozen = self._frozen(number)
        if epoch == first_epoch and len(self.lengths) > 1:
            note = f", frozen: {', '.join(frozen)}" if frozen else ""
            log.info("stage %s, %d of %d%s", self.names[number], number + 1, len(self.lengths), note)
        module.freeze_parts(frozen)

    def _stage(self, epoch: int) -> tuple[int, int]:
        """Returns the stage of an epoch and the first epoch of that stage."""
        first_epoch = 0
        for number, length in enumerate(self.lengths[:-1]):
            assert length is not None
            if epoch < first_epoch + length:
                return number, first_epoch
            first_epoch += length
        return len(self.lengths) - 1, first_epoch

    def _frozen(self, number: int) -> tuple[str, ...]:
        return tuple(self.settings[number].freeze)


def _top_parts(module: nn.Module) -> str:
    names = [name for name, _ in module.named_modules() if name and name.count(".") < 2]
    return ", ".join(names[:20])
