"""Explains an error of a run that found no memory: how large its batch was, and which key makes batches smaller."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl

from partoken.errors import UserError
from partoken.training.module import scheduled_module

__all__ = ["LastBatch", "explain_out_of_memory"]

SIGNS = ("out of memory", "can't allocate memory", "not enough memory")
"""Parts of the messages of torch: of a GPU, of the CPU under Linux, of the CPU elsewhere."""


class LastBatch(pl.Callback):
    """Remembers how large the current batch is."""

    def __init__(self) -> None:
        self.size = ""
        """Such as "batch of 8 samples, 2,153 residues"; "": no batch has begun."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._measure(pl_module, batch)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._measure(pl_module, batch)

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._measure(pl_module, batch)

    def _measure(self, pl_module: pl.LightningModule, batch: Any) -> None:
        module = scheduled_module(pl_module)
        samples = f"{len(batch)} samples, " if hasattr(batch, "ids") else ""
        units = module.batch_units(batch)
        self.size = f"batch of {samples}{units:,} {module.unit}"


@contextmanager
def explain_out_of_memory(last: LastBatch, data: Mapping[str, Any], batch_size: int) -> Iterator[None]:
    """Turns an error of missing memory in the block into one message; other errors pass.

    Arguments:
        last: remembers the batch.
        data: the `data` group of the configuration, plain.
        batch_size: `train.batch_size`.

    Raises:
        UserError: the block found no memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if not isinstance(error, MemoryError) and not any(sign in text.lower() for sign in SIGNS):
            raise
        residues = data.get("max_residues_per_batch")
        key = f"train.batch_size={batch_size}"
        if residues is not None:
            key = f"data.max_residues_per_batch={residues}"
        elif "max_residues_per_batch" in data:
            key += " or set data.max_residues_per_batch"
        place = f"at a {last.size}" if last.size else "before the first batch"
        reason = next(iter(text.splitlines()), "") or type(error).__name__
        raise UserError(f"out of memory {place}: lower {key} ({reason})") from error
