"""Weights that ship with the package: each has a name, which stands for the path of its checkpoint."""

import os
from importlib import resources
from pathlib import Path

from partoken.errors import UserError, did_you_mean

__all__ = ["find_weights", "shipped_weights", "weights_names"]

_OTHER_NAMES = {"pretrained": "enzymes"}
"""Further names of weights that ship."""


def shipped_weights() -> dict[str, Path]:
    """Returns the checkpoints that ship, by name: the files `pretrained/NAME.ckpt` of every domain."""
    package = Path(str(resources.files("partoken")))
    return {path.stem: path for path in sorted(package.glob("*/pretrained/*.ckpt"))}


def weights_names() -> dict[str, Path]:
    """Returns the checkpoints that ship by all names that a user may give: "pretrained" stands for "enzymes"."""
    shipped = shipped_weights()
    return shipped | {name: shipped[meant] for name, meant in _OTHER_NAMES.items() if meant in shipped}


def find_weights(checkpoint: str | os.PathLike[str]) -> Path:
    """Returns the path of a checkpoint that a user names.

    Arguments:
        checkpoint: a file, or the name of weights that ship. If there is a file of the name, it is meant.

    Raises:
        UserError: it is a bare word, and neither a file nor weights that ship have this name.
    """
    path = Path(checkpoint)
    is_word = path.name == str(checkpoint) and not path.suffix
    if path.is_file() or not is_word:
        return path
    shipped = weights_names()
    if path.name not in shipped:
        names = ", ".join(shipped) or "none in this installation"
        raise UserError(
            f"{checkpoint}: neither a file nor weights that ship with partoken have this name; give "
            f"checkpoints/best.ckpt of a run, or the name of weights that ship: {names}."
            f"{did_you_mean(path.name, shipped)}"
        )
    return shipped[path.name]
