"""Files that no command can use, for the table of misuses: FILES/NAME."""

from pathlib import Path

import torch

from partoken.system.checkpoint import read_checkpoint


def write_files(folder: Path, best: Path) -> None:
    """Writes the files.

    Arguments:
        folder: where to write them.
        best: checkpoint of a finished run.
    """
    folder.mkdir()
    (folder / "empty.ckpt").touch()
    torch.save(_with_nan(read_checkpoint(best)), folder / "nan.ckpt")


def _with_nan(checkpoint: dict) -> dict:
    """Returns a checkpoint with one weight that is not a number."""
    weights = checkpoint["state_dict"]
    name = next(name for name, value in weights.items() if value.is_floating_point() and value.numel() > 1)
    weights[name].view(-1)[0] = torch.nan
    return checkpoint
