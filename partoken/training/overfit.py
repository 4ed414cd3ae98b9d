"""The same few batches in every epoch: `trainer.overfit_batches`."""

import logging
from collections.abc import Mapping
from itertools import islice
from typing import Any, cast

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from partoken.errors import UserError
from partoken.schedule.length import RunLength, num_devices
from partoken.training.domain import DataModule

__all__ = ["WHOLE", "RepeatedBatches", "repeat_batches"]

log = logging.getLogger(__name__)

WHOLE = {"limit_train_batches": 1.0, "limit_val_batches": 1.0, "limit_test_batches": 1.0}
"""Arguments of Lightning's Trainer with which it takes every one of the repeated batches."""


class RepeatedBatches(pl.LightningDataModule):
    """Trains, validates and tests on the first batches of the training data, so that a model can learn them by heart.

    Lightning's own `overfit_batches` would replace the sampler that makes the batches.

    Arguments:
        data: of the run, read.
        num_batches: number of batches.
    """

    def __init__(self, data: DataModule, num_batches: int) -> None:
        super().__init__()
        self._batches = list(islice(data.train_dataloader(), num_batches))

    def train_dataloader(self) -> DataLoader[Any]:
        """Returns the batches in the same order in every epoch."""
        batches: Any = self._batches
        return DataLoader(batches, batch_size=None, collate_fn=_unchanged)

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns the training batches."""
        return self.train_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        """Returns the training batches."""
        return self.train_dataloader()


def repeat_batches(data: DataModule, trainer: Mapping[str, Any]) -> pl.LightningDataModule:
    """Returns the data as Lightning gets it: all of it, or a few batches if `trainer.overfit_batches` is set.

    Arguments:
        data: of a stage, read.
        trainer: the `trainer` group of the configuration.

    Raises:
        UserError: there are several devices, or no batch is left.
    """
    limit = trainer.get("overfit_batches")
    if not limit:
        return cast(pl.LightningDataModule, data)  # a protocol cannot say that it is one
    if num_devices(trainer) > 1:
        raise UserError(f"trainer.overfit_batches={limit}: needs a single device; set trainer.devices=1")
    length = RunLength.of_trainer({**trainer, "accumulate_grad_batches": 1}, data.num_train_batches(1))
    count = length.steps_per_epoch
    if count is None:
        raise UserError(f"trainer.overfit_batches={limit}: the data does not know its number of batches")
    log.info("trainer.overfit_batches=%s: the same %d of the training batches train, validate and test", limit, count)
    return RepeatedBatches(data, count)


def _unchanged(batch: Any) -> Any:
    return batch
