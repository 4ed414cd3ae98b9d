"""The content of `summary.json`."""

import importlib
import math
import platform
from collections.abc import Mapping
from typing import Any

import torch

from partoken.version import __version__

__all__ = ["finite", "versions"]


def finite(value: Any) -> Any:
    """Returns plain values, with None for numbers that JSON does not have.

    >>> finite({"loss": float("nan"), "scores": (torch.tensor(0.5), 1)})
    {'loss': None, 'scores': [0.5, 1]}
    """
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, (float, torch.Tensor)):
        return float(value) if math.isfinite(value) else None
    return value


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that decide a run's numbers."""
    names = ("torch", "pytorch_lightning", "numpy", "hydra")
    libraries = {name: str(importlib.import_module(name).__version__) for name in names}
    return {"partoken": __version__, "python": platform.python_version(), **libraries}
