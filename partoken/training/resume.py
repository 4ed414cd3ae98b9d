"""Checkpoints that survive a kill, and a resume that continues with the same numbers."""

import os
import random
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins import TorchCheckpointIO
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from partoken.errors import UserError
from partoken.system.files import atomic_write, sync_folder
from partoken.system.process import die_with_parent
from partoken.system.run_folder import check_still_there

__all__ = ["AtomicCheckpointIO", "BestCheckpoint", "DealtBatch", "ExactResume", "Patience", "ResumableDataModule"]
__all__ += ["ResumableLoader", "ResumableSampler"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint beside its final name, syncs it to disk, renames it, then syncs the folder.

    A kill at any moment leaves the old file or the new one, whole. Lightning writes to the system's temporary folder
    and then moves the file. On a cluster that folder is on another file system, so the move is a copy, and a kill
    during the copy leaves a corrupt checkpoint.

    Arguments:
        folder: of the run, which must still be there; None: any folder is created.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.folder = folder

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        if self.folder is not None:
            check_still_there(self.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            torch.save(checkpoint, file)
        sync_folder(path.parent)


class BestCheckpoint(ModelCheckpoint):
    """Writes `best.ckpt`, and knows it again if the run continues in another folder, to which the file was copied.

    Lightning's callback forgets the best value there, so the first epoch after the resume would count as the best.
    """

    is_of_epoch_end = False
    """Whether the last end of an epoch wrote the file."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        before = self._last_global_step_saved
        super().on_train_epoch_end(trainer, pl_module)
        self.is_of_epoch_end = self._last_global_step_saved != before

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.dirpath is not None and self.filename is not None
        own = str(Path(self.dirpath) / f"{self.filename}{self.FILE_EXTENSION}")
        if not state_dict["best_model_path"] or not Path(own).is_file():
            return
        moved = {key: own for key in ("best_model_path", "kth_best_model_path")}
        kept = dict.fromkeys([own], state_dict["best_model_score"])
        super().load_state_dict({**state_dict, **moved, "best_k_models": kept, "dirpath": self.dirpath})


class Patience(EarlyStopping):
    """Lightning's early stopping, which keeps the requested patience when a run is resumed with another one.

    A run that had stopped when it was killed, such as in its test, trains no further.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class ExactResume(pl.Callback):
    """Saves and restores the states of the random generators of Python, NumPy and torch.

    Lightning's checkpoints hold no random state, so with dropout a resumed run would differ from an uninterrupted one.
    The states are restored when the loaders exist, because making a loader's iterator draws from torch's generator.

    On several devices all processes have the same states, and those of the first one are saved. Lightning seeds each
    process anew when it joins the others; the training starts from the states at which this callback was created, as on
    one device.
    """

    def __init__(self) -> None:
        self._restored: Mapping[str, Any] | None = None
        self._before_validation: dict[str, Any] | None = None
        self._created = self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Returns the states; within a validation those at its beginning, because a resumed run begins it again."""
        return self._before_validation or self._current()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before_validation = None if trainer.sanity_checking else self._current()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before_validation = None

    def _current(self) -> dict[str, Any]:
        state: Any = np.random.get_state()
        kind, keys, position, has_gauss, gauss = state
        version, internal, gauss_next = random.getstate()
        has_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        return {
            "torch": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state()] if has_gpu else [],
            "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
            "python": [version, torch.tensor(internal), gauss_next],  # a tensor is saved faster than 625 numbers
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            _restore(self._created)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._restored is not None:
            _restore(self._restored)
            self._restored = None


def _restore(state: Mapping[str, Any]) -> None:
    """Sets the generators of this process and of its device to saved states."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0].cpu())
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(map(int, internal)), gauss_next))  # older checkpoints have a list


class DealtBatch(list[Any]):
    """The indices of one device's part of a batch that several devices share.

    Arguments:
        items: of this device.
        share: the place of this part in the whole batch, as the domain describes it.
    """

    def __init__(self, items: Iterable[Any], share: Any) -> None:
        super().__init__(items)
        self.share = share


class ResumableSampler(DistributedSampler[Any]):
    """The order of the batches of an epoch, which a subclass decides from the seed and the epoch alone.

    It is a `DistributedSampler` so that Lightning keeps it and calls `set_epoch`.

    Arguments:
        num_items: number of items in the data set.
        shuffle: False keeps the order of the items, for evaluation.
        seed: seed of the order.
        world_size: number of devices.
        rank: index of this device, 0 to `world_size` - 1.
    """

    start = 0
    """Batches of the epoch to leave out, for a loader that resumes within it."""
    first_epoch = 0
    """Epochs of the run before the stage that is trained, whose order shall not come again."""

    def __init__(
        self, num_items: int, *, shuffle: bool = True, seed: int = 0, world_size: int = 1, rank: int = 0
    ) -> None:
        items: Any = range(num_items)  # the base class only takes its length
        super().__init__(items, num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, counted from the beginning of the stage."""
        super().set_epoch(self.first_epoch + epoch)


class ResumableLoader(DataLoader[Any]):
    """A DataLoader that counts the batches it has handed out, and can start after some of them.

    It has a random generator of its own, so it does not draw from torch's, which dropout uses.

    Arguments:
        dataset: its items are whole batches.
        sampler: yields one index of `dataset` per batch.
        num_workers: processes that load batches; 0 loads in this process.
        options: of DataLoader, with other values than those chosen here.
    """

    def __init__(
        self, dataset: Dataset[Any], sampler: ResumableSampler, *, num_workers: int = 0, **options: Any
    ) -> None:
        chosen = {
            "collate_fn": _unchanged,
            "generator": torch.Generator(),
            "persistent_workers": num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }
        super().__init__(dataset, batch_size=None, sampler=sampler, num_workers=num_workers, **{**chosen, **options})
        self.handed_out = 0
        self._order = sampler
        self._start = 0

    def begin(self, first_epoch: int) -> None:
        """Sets the epochs of the run before the stage that is trained."""
        self._order.first_epoch = first_epoch
        self._order.set_epoch(0)

    def state_dict(self) -> dict[str, int]:
        """Returns the number of batches handed out in this epoch, and that of the whole epoch."""
        return {"batches": self.handed_out, "of": len(self)}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Makes the next epoch start after that number of batches; after a whole epoch it starts from the first.

        Raises:
            UserError: the checkpoint was written within an epoch that had another number of batches.
        """
        batches, length = state_dict["batches"], state_dict.get("of", len(self))  # older checkpoints have no length
        self._start = batches % length
        if self._start and length != len(self):
            raise UserError(
                f"train.resume_from: the checkpoint was written after {batches} of {length} batches of an epoch, which "
                f"now has {len(self)}: keep train.batch_size times the number of devices, or resume from the end of an "
                "epoch"
            )

    def __iter__(self) -> Any:
        # A generator: nothing runs before the first batch is asked for, when the sampler knows its epoch.
        self.handed_out, self._start = self._start, 0
        self._order.start = self.handed_out
        # torch's worker looks for its parent too, but takes another one for it if that was killed while it started.
        self.worker_init_fn = partial(_begin_worker, os.getpid())
        for batch in super().__iter__():
            self.handed_out += 1
            yield batch


def _begin_worker(parent: int, _: int) -> None:
    die_with_parent(parent)


class ResumableDataModule(pl.LightningDataModule):
    """A data module whose position in the training epoch is saved in the checkpoint.

    Lightning restores a loader's state only if the loader is made after the checkpoint is read. Here it is made before,
    because the schedule needs the number of batches. A data module is restored earlier, before it is asked for loaders,
    and hands the position on. A subclass returns from `train_dataloader` what `resumable` returns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first_epoch = 0
        """Epochs of the run before the stage that is trained; the engine sets it."""
        self._training_loader: ResumableLoader | None = None
        self._restored: dict[str, int] | None = None

    @property
    def place(self) -> dict[str, int]:
        """The number of devices and the index of this one, as a `DistributedSampler` takes them."""
        trainer = self.trainer
        return {"world_size": trainer.world_size if trainer else 1, "rank": trainer.global_rank if trainer else 0}

    def resumable(self, loader: ResumableLoader) -> ResumableLoader:
        """Returns the training loader, set to the position of the resumed checkpoint."""
        loader.begin(self.first_epoch)
        if self._restored is not None:
            loader.load_state_dict(self._restored)
        self._training_loader, self._restored = loader, None
        return loader

    def state_dict(self) -> dict[str, Any]:
        if self._training_loader is None:
            return {}
        state = self._training_loader.state_dict()
        if self.trainer is not None and state["batches"] >= self.trainer.num_training_batches:
            state["batches"] = 0  # the epoch is over, also one that a limit of the trainer ends
        return dict(state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Lightning also restores for a test. The next stage of the run would then begin within an epoch.
        if self.trainer is None or not self.trainer.testing:
            self._restored = state_dict


def _unchanged(batch: Any) -> Any:
    return batch
