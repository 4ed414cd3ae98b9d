"""A task with a known best learning rate, for the tests."""

import torch
from torch import nn

from partoken.training.module import ScheduledModule


class Quadratic(ScheduledModule):
    """The loss is `curvature / 2 * |w|^2 + floor`, whatever the batch."""

    def __init__(self, *, train, data=None, curvature=1.0, floor=0.0):
        super().__init__(train)
        self.save_hyperparameters()
        self.w = nn.Parameter(torch.ones(4))

    def loss(self):
        return self.hparams["curvature"] / 2 * self.w.square().sum() + self.hparams["floor"]

    def training_step(self, batch, batch_idx):
        loss = self.loss()
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss())

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.loss())
