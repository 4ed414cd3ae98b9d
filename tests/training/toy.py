"""A whole domain in a few lines, to show that the training layer and the report know none."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

from partoken.training.module import ScheduledModule
from partoken.training.resume import ResumableDataModule, ResumableLoader, ResumableSampler


class ToyModule(ScheduledModule):
    def __init__(self, *, train, data=None, dropout=0.5):
        super().__init__(train)
        self.save_hyperparameters()
        self.network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(dropout), nn.LayerNorm(4), nn.Linear(4, 1))

    def _loss(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self.network(x), y)

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self._loss(batch))


class Shuffled(ResumableSampler):
    """Lists of rows, in an order of the epoch's own."""

    def __init__(self, data, size):
        super().__init__(len(data))
        self.size = size

    def __len__(self):
        return self.num_samples // self.size

    def __iter__(self):
        rows = list(super().__iter__())
        return iter([rows[i : i + self.size] for i in range(self.size * self.start, len(rows), self.size)])


class ToyData(ResumableDataModule):
    def __init__(self, *, batch_size=2, num_workers=0, seed=0, size=14):
        super().__init__()
        self.batch_size = batch_size
        generator = torch.Generator().manual_seed(seed)
        self.data = TensorDataset(torch.randn(size, 3, generator=generator), torch.randn(size, 1, generator=generator))

    def num_train_batches(self, world_size):
        return len(self.data) // self.batch_size // world_size

    def describe(self):
        return [f"{len(self.data)} points"]

    def settings(self):
        return {}

    def write_report(self, folder):
        (folder / "data_report.json").write_text("{}")

    def loader(self):
        return ResumableLoader(self.data, Shuffled(self.data, self.batch_size))

    def train_dataloader(self):
        return self.resumable(self.loader())

    val_dataloader = test_dataloader = loader


class RootOfZero(ToyModule):
    """Its loss is finite, but not the gradient of its loss."""

    def _loss(self, batch):
        return super()._loss(batch) + torch.sqrt(self.network(batch[0]) * 0).sum()
