"""Files that no command can use, for the table of misuses: FILES/NAME."""

from pathlib import Path, PurePosixPath

import numpy as np
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
    torch.save({"state_dict": {}, "hyper_parameters": {}}, folder / "foreign.ckpt")
    torch.save({"state_dict": {}, "code": PurePosixPath("x")}, folder / "code.ckpt")
    content = read_checkpoint(best)
    content["hyper_parameters"]["num_layers"] = "three"
    torch.save(content, folder / "inconsistent.ckpt")
    _write_arrays(folder)


def _write_arrays(folder: Path) -> None:
    """Writes NPZ files whose coordinates are objects, texts and nothing."""
    arrays = {"offsets": np.array([0, 3]), "id": np.array(["a"]), "seq": np.array(["AAA"])}
    np.savez(folder / "objects.npz", allow_pickle=True, **arrays, coords=np.array([None]))
    np.savez(folder / "texts.npz", **arrays, coords=np.full((3, 4, 3), "x"))
    (folder / "empty.npz").touch()
    for name in ("objects", "texts", "empty"):
        (folder / f"{name}.csv").write_text("id,label\na,1\n")


def _with_nan(checkpoint: dict) -> dict:
    """Returns a checkpoint with one weight that is not a number."""
    weights = checkpoint["state_dict"]
    name = next(name for name, value in weights.items() if value.is_floating_point() and value.numel() > 1)
    weights[name].view(-1)[0] = torch.nan
    return checkpoint
