"""Reading a checkpoint file."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from partoken.errors import UserError

__all__ = ["read_checkpoint"]


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the content of a checkpoint, read with `weights_only=True`, its tensors on the CPU.

    Arguments:
        path: a `.ckpt` file of a run.

    Raises:
        UserError: the file is missing, damaged, or not a checkpoint of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; a run writes checkpoints/best.ckpt and checkpoints/last.ckpt")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} cannot be read as a checkpoint: it is damaged, or holds more than tensors and plain values, which "
            "could run code when it is read; choose checkpoints/best.ckpt of a run of this project"
        ) from error
    except Exception as error:  # torch raises a different type for each kind of damage
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise UserError(f"{path} is not a checkpoint of this project: it has no state_dict")
    return content
