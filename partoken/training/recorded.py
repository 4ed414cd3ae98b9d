"""Reading a run folder again: its checkpoint, and the data that it recorded."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from partoken.composition import plain
from partoken.config import absolute_paths
from partoken.errors import UserError
from partoken.system.instantiation import instantiate
from partoken.system.run_status import read_status
from partoken.training.continuing import CHECKPOINT_KEY
from partoken.training.domain import DataModule
from partoken.training.settings import TrainSettings

__all__ = ["RecordedData", "find_checkpoint", "find_recorded_data", "find_run_folder"]

_CONFIG = Path(".hydra", "config.yaml")
"""The composed configuration that Hydra writes into a run folder."""


def find_checkpoint(given: str | os.PathLike[str]) -> Path:
    """Returns the best checkpoint of a run folder, or the file itself.

    Arguments:
        given: a run folder or a checkpoint.

    Raises:
        UserError: there is no such path, or the folder has no best checkpoint.
    """
    path = Path(given)
    if not path.exists():
        raise UserError(f"{given}: no such run folder or checkpoint; give the folder of a run or its best.ckpt")
    if not path.is_dir():
        return path
    best = path / "checkpoints" / "best.ckpt"
    if best.is_file():
        return best
    if (path / "sweep.json").is_file():
        raise UserError(f"{given} is the folder of a sweep; give the folder of one of its jobs")
    state = read_status(path).status if (path / "status.json").is_file() else "no run folder"
    raise UserError(
        f"{given} has no checkpoints/best.ckpt (status: {state}); give the folder of a run that has trained"
    )


def find_run_folder(checkpoint: Path) -> Path | None:
    """Returns the run folder in which a checkpoint lies and whose configuration is there; None: there is none."""
    parents = Path(os.path.abspath(checkpoint)).parents
    return next((folder for folder in parents[1:3] if (folder / _CONFIG).is_file()), None)


@dataclass(frozen=True)
class RecordedData:
    """The data with which a run trained a checkpoint; nothing of it is read yet."""

    group: Mapping[str, Any]
    """The group `data` of the configuration, plain, with absolute paths."""
    loading: Mapping[str, Any]
    """The arguments that the engine adds."""

    def read(self) -> DataModule:
        """Creates the data module and reads the data from its source again.

        Raises:
            UserError: the data cannot be used.
        """
        data: DataModule = instantiate(self.group, "data", **self.loading)
        data.prepare_data()
        data.setup("fit")
        return data


def find_recorded_data(folder: Path, checkpoint: Mapping[str, Any]) -> RecordedData:
    """Finds the data with which a run trained a checkpoint.

    Relative paths mean the folder in which the run was started.

    Arguments:
        folder: the run folder.
        checkpoint: content of one of its checkpoints, which names its stage.

    Raises:
        UserError: the recorded configuration cannot be used.
    """
    groups = _recorded_groups(folder)
    train = TrainSettings.read(groups["train"])
    stages = train.run_stages()
    name = checkpoint.get(CHECKPOINT_KEY, {}).get("stage", "")
    stage = next((stage for stage in stages if stage.name == name), stages[-1])
    loading = {"batch_size": train.batch_size, "num_workers": 0, "seed": train.seed}
    return RecordedData(stage.groups(groups)["data"], loading)


def _recorded_groups(folder: Path) -> dict[str, Any]:
    """Returns the groups of the configuration that a run recorded, plain, with absolute paths."""
    path = folder / _CONFIG
    try:
        groups = plain(OmegaConf.load(path))  # type: ignore[arg-type]
        hydra = OmegaConf.load(path.with_name("hydra.yaml"))
        started_in = Path(str(OmegaConf.select(hydra, "hydra.runtime.cwd")))
    except (OSError, YAMLError, OmegaConfBaseException, AssertionError) as error:
        raise UserError(
            f"{path}: the configuration of the run cannot be read ({' '.join(str(error).split())}); give a run folder "
            "as partoken train left it"
        ) from None
    missing = [group for group in ("data", "model", "train") if not isinstance(groups.get(group), dict)]
    if missing:
        raise UserError(f"{path} has no group {missing[0]}; give a run folder as partoken train left it")
    return absolute_paths(groups, started_in)
