"""The same few batches in every epoch: `trainer.overfit_batches`."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, cast

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from partoken.errors import UserError
from partoken.schedule.length import RunLength, num_devices
from partoken.training.domain import DataModule

__all__ = ["RepeatedBatches", "repeat_batches"]


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
    if length.steps_per_epoch is None:
        raise UserError(f"trainer.overfit_batches={limit}: the data does not know its number of batches")
    return RepeatedBatches(data, length.steps_per_epoch)


def _unchanged(batch: Any) -> Any:
    return batch
