"""Checkpoints that survive a kill, and a resume that goes on with the same numbers."""

import contextlib
import os
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from partoken.errors import UserError

__all__ = ["AtomicCheckpointIO", "RandomState", "read_checkpoint"]

PARTIAL = ".partial"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint beside its final name, syncs it to disk, then renames it.

    A kill at any moment leaves the old file or the new one, whole. Lightning's default goes through the system's
    temporary folder, which on a cluster is another file system, where the move is a copy that a kill cuts short.
    What a kill does leave, a file that ends in `.partial`, is swept by the next save into the folder.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.*{PARTIAL}"):
            with contextlib.suppress(FileNotFoundError):
                stale.unlink()
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise


class RandomState(pl.Callback):
    """Saves the states of Python's, NumPy's and torch's random generators in the checkpoint and restores them.

    Lightning's checkpoints hold none, so that with dropout a resumed run would differ from an uninterrupted one.
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
        state, self._restored = self._restored, None
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
        kind, keys, position, has_gauss, gauss = state["numpy"]
        np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))
        version, internal, gauss_next = state["python"]
        random.setstate((version, tuple(internal), gauss_next))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns a checkpoint's content, read with `weights_only=True`.

    Raises:
        UserError: the file is missing, damaged, or no checkpoint of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each kind of damage
        raise UserError(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise UserError(f"{path} is not a checkpoint: it has no state_dict")
    return content
