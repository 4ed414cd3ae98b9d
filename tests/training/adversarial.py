"""A task with two optimizers, each with its own plan, for the tests."""

import torch
from torch import nn

from partoken.training.module import ScheduledModule


class Adversarial(ScheduledModule):
    """A generator is trained at every batch, and so is a discriminator."""

    def __init__(self, *, train, data=None):
        super().__init__(train)
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator, self.discriminator = nn.Linear(3, 1), nn.Linear(1, 1)

    def optimizer_modules(self):
        return {"generator": [self.generator], "discriminator": [self.discriminator]}

    def training_step(self, batch, batch_idx):
        x, y = batch
        made = self.generator(x)
        loss = nn.functional.mse_loss(made, y)
        self.optimize(loss, "generator")
        self.optimize(self.discriminator(made.detach()).sub(1).square().mean(), "discriminator")
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.mse_loss(self.generator(batch[0]), batch[1]))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", torch.zeros(()))
