"""Checkpoints that survive a kill, and a resume that goes on with the same numbers."""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from torch.utils.data import DataLoader, Dataset, Sampler

from partoken.system.files import atomic_write

__all__ = ["AtomicCheckpointIO", "ExactResume", "ResumableLoader"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint beside its final name, syncs it to disk, then renames it.

    A kill at any moment leaves the old file or the new one, whole. Lightning writes to the system's temporary folder
    and then moves the file. On a cluster that folder is on another file system, so the move is a copy, and a kill
    during the copy leaves a corrupt checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            torch.save(checkpoint, file)


class ExactResume(pl.Callback):
    """Saves the states of Python's, NumPy's and torch's random generators and restores them with the data position.

    Lightning's checkpoints hold no random state, so that with dropout a resumed run would differ from an
    uninterrupted one; and it does not restore a loader's position where the loaders exist before the checkpoint is
    read, as they do when the length of the run is needed to make the schedule.
    """

    def __init__(self) -> None:
        self._restored: Mapping[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        kind, keys, position, has_gauss, gauss = np.random.get_state()
        version, internal, gauss_next = random.getstate()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
            "python": [version, list(internal), gauss_next],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restored is None:
            return
        trainer.fit_loop._load_combined_loader_states()
        state, self._restored = self._restored, None
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
        kind, keys, position, has_gauss, gauss = state["numpy"]
        np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))
        version, internal, gauss_next = state["python"]
        random.setstate((version, tuple(internal), gauss_next))


class ResumableLoader(DataLoader):
    """A DataLoader whose position is saved in the checkpoint, so that a resumed epoch goes on with the next batch.

    Its sampler decides the order from a seed and the epoch (`set_epoch`), and leaves out the batches before its
    attribute `start`. Its own random generator keeps torch's, which dropout draws from, untouched.

    Arguments:
        dataset: as for DataLoader.
        sampler: yields what `dataset` takes as an index, one a batch; has `start`.
        options: of DataLoader.
    """

    def __init__(self, dataset: Dataset, sampler: Sampler, **options: Any) -> None:
        super().__init__(dataset, batch_size=None, sampler=sampler, generator=torch.Generator(), **options)
        self._handed_out = 0
        self._start = 0

    def __iter__(self) -> Iterator[Any]:
        # A generator: nothing runs before the first batch is asked for, when the sampler knows its epoch.
        self._handed_out, self._start = self._start, 0
        self.sampler.start = self._handed_out
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"batches": self._handed_out}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        self._start = state_dict["batches"] % len(self)
