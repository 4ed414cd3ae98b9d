"""Leaves batches out of the training whose numbers are not finite: `train.on_nonfinite=skip`."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["NonFiniteSkipper", "named_batch"]

log = logging.getLogger(__name__)

WARNINGS = 10
"""Batches that are named in the log; further ones are only counted."""
NAMES = 8
"""Samples of a batch that a message names."""


class NonFiniteSkipper(pl.Callback):
    """Decides which batches and steps the training leaves out, and counts them.

    A batch whose loss is not finite adds no gradient, and the buffers of the model, such as the moving averages of a
    codebook, are set back to their values before it. The other batches of its window of accumulation count as before.
    A step with a gradient that is not finite, or without any gradient, is not taken. On several devices all of them
    leave the same batch out. Each loss is read at once, so a GPU waits for it at every batch.
    """

    def __init__(self) -> None:
        self.batches = 0
        """Batches left out since the beginning of the stage."""
        self.epoch_batches = 0
        """Batches of the current epoch."""
        self.epoch_skipped = 0
        """Batches of the current epoch that were left out."""
        self._is_skipped = False
        self._batch: Any = None
        self._buffers: list[Tensor] = []
        self._module: pl.LightningModule | None = None

    @property
    def has_skipped_all(self) -> bool:
        """Whether no batch of the current epoch could be used."""
        return 0 < self.epoch_batches == self.epoch_skipped

    def state_dict(self) -> dict[str, int]:
        """Returns the counts, for the checkpoint."""
        return {name: getattr(self, name) for name in ("batches", "epoch_batches", "epoch_skipped")}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes on with the counts of a resumed run."""
        vars(self).update(state_dict)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.epoch_batches = self.epoch_skipped = 0
        self._module, self._batch, self._is_skipped = pl_module, batch, False
        self._buffers = [buffer.clone() for buffer in pl_module.buffers()]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.epoch_batches += 1
        self.epoch_skipped += self._is_skipped
        self._batch = None
        count = float(self._is_skipped)
        pl_module.log("train_skipped_batches", count, on_step=False, on_epoch=True, reduce_fx="sum", batch_size=1)

    def takes(self, loss: Tensor) -> bool:
        """Returns whether the gradient of a loss shall be computed; otherwise the batch is left out.

        Arguments:
            loss: of the current batch.
        """
        assert self._module is not None, "a batch has begun"
        is_finite = bool(torch.isfinite(loss.detach()).all())
        if self._module.trainer.strategy.reduce_boolean_decision(is_finite, all=True):
            return True
        with torch.no_grad():
            for buffer, before in zip(self._module.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
        if not self._is_skipped:
            self._is_skipped = True
            self.batches += 1
            if self.batches <= WARNINGS:
                last = "; further ones are only counted" if self.batches == WARNINGS else ""
                log.warning("left out%s: its loss is not a finite number%s", named_batch(self._batch), last)
        return False

    def step(self, optimizer: LightningOptimizer, closure: Callable[[], Any]) -> None:
        """Computes the gradients of a batch, then steps the optimizer if they can be used.

        Arguments:
            optimizer: Lightning's wrapper.
            closure: computes the loss and its gradients.
        """
        loss = closure()
        if self.can_step(optimizer.optimizer):
            optimizer.step(closure=lambda: loss)

    def can_step(self, optimizer: Optimizer) -> bool:
        """Returns whether there are gradients and all of them are finite; a gradient scaler checks its own."""
        assert self._module is not None, "a batch has begun"
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        precision = self._module.trainer.precision_plugin
        if not gradients or (isinstance(precision, MixedPrecision) and precision.scaler is not None):
            return bool(gradients)
        return bool(torch.stack([torch.isfinite(gradient).all() for gradient in gradients]).all())


def named_batch(batch: Any) -> str:
    """Returns the samples of a batch for a message; "" if they have no names.

    >>> class Batch:
    ...     ids = ("1abcA", "2xyzB")
    >>> named_batch(Batch())
    ' in the batch of 1abcA, 2xyzB'
    """
    names: Sequence[str] = getattr(batch, "ids", ())
    if not names:
        return ""
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return f" in the batch of {', '.join(map(str, names[:NAMES]))}{more}"
