"""Reading a checkpoint file, and whether its weights can be used."""

import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from partoken.errors import UserError

__all__ = ["non_finite_weight", "read_checkpoint"]


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the content of a checkpoint, read with `weights_only=True`, its tensors on the CPU.

    Arguments:
        path: a `.ckpt` file of a run.

    Raises:
        UserError: the file is missing, damaged, not a checkpoint of this project, or its weights are not finite.
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
    if name := non_finite_weight(content["state_dict"]):
        raise UserError(
            f"{path}: its weight {name} is not a finite number, because the run that wrote it diverged; give a "
            "checkpoint of an earlier epoch, or train again with a lower train.lr"
        )
    return content


def non_finite_weight(state_dict: Mapping[str, Any]) -> str | None:
    """Returns the name of the first tensor with an infinite value or NaN; None if there is none.

    >>> non_finite_weight({"bias": torch.tensor([0.0, 1.0]), "scale": torch.tensor([1.0, torch.inf])})
    'scale'
    >>> non_finite_weight({"large": torch.full((2,), 3e38)})
    """
    tensors = {name: value for name, value in state_dict.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        return None
    # One answer for all of them, because reading it makes a GPU wait. A finite sum has finite terms and is faster than
    # a look at each term. The sum of finite terms may overflow.
    sums = torch.stack([value.detach().sum().double() for value in tensors.values()]).tolist()
    suspects = (name for name, total in zip(tensors, sums, strict=True) if not math.isfinite(total))
    return next((name for name in suspects if not torch.isfinite(tensors[name]).all()), None)
