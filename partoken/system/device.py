"""The device that the user chose."""

import torch

from partoken.errors import UserError

__all__ = ["choose_device"]


def choose_device(name: str | None) -> torch.device:
    """Returns the named device, checked.

    Arguments:
        name: as in `torch.device`; None takes a GPU if there is one, otherwise the CPU.

    Raises:
        UserError: torch does not know the device, or finds no GPU.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name}: no such device; choose cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name}: no such device here; choose cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={name}: torch finds no GPU here; choose cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={name}: the GPUs here are 0 to {torch.cuda.device_count() - 1}; choose cuda:0")
    return device
