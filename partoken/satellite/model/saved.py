"""Loading trained networks from a checkpoint, without Lightning; the checkpoint alone suffices."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from partoken.errors import UserError
from partoken.satellite.model.lora import merge_adapters
from partoken.satellite.model.refiner import Refiner, TwoStages
from partoken.satellite.model.settings import split_stage1, split_stage2
from partoken.satellite.model.translator import Translator
from partoken.system.checkpoint import read_checkpoint

__all__ = ["SavedNetwork", "find_checkpoint", "load_network", "load_translator", "network_of_stage"]

NETWORK = "network."
"""The tasks' attribute that holds the network: it begins the names in a checkpoint's `state_dict`."""
NEEDED = ("bands", "s1_mean", "s1_std", "s2_mean", "s2_std", "source")


@dataclass(frozen=True)
class SavedNetwork:
    """A trained network, with everything that a prediction needs."""

    network: Translator | TwoStages
    """The network on the CPU, in evaluation mode, its adapters merged."""
    stage: int
    """1 or 2."""
    data: Mapping[str, Any]
    """`DataModule.settings()` of the run: bands, statistics, and the `source` with tile size and units."""

    def predict(self, s1: Tensor, s1_mask: Tensor, month: Tensor, biome: Tensor) -> Tensor:
        """Returns the reflectance of the last stage, `[B, 4, H, W]` float32, 0 or more.

        Arguments: as for `partoken.satellite.model.refiner.Refiner`; stage 1 ignores month and biome.
        """
        with torch.inference_mode():
            if isinstance(self.network, TwoStages):
                refined: Tensor = self.network(s1, s1_mask, month, biome)[1]
                return refined
            first: Tensor = self.network(s1, s1_mask)
            return first


def load_network(checkpoint: str | os.PathLike[str]) -> SavedNetwork:
    """Loads the network of a run of stage 1 or stage 2.

    Arguments:
        checkpoint: a `.ckpt` file, or a run folder; it is read with `weights_only=True`.

    Raises:
        UserError: the file does not exist, is damaged, or contains no network of this domain.
    """
    path = find_checkpoint(checkpoint)
    content = read_checkpoint(path)
    settings = content.get("hyper_parameters", {})
    data = _data_settings(path, settings)
    try:
        network = network_of_stage(settings)
        network.load_state_dict(_network_weights(content["state_dict"]))
    except (UserError, RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} contains no satellite network of this version: {reason}") from error
    merge_adapters(network)
    return SavedNetwork(network.eval(), 1 if isinstance(network, Translator) else 2, data)


def load_translator(checkpoint: str | os.PathLike[str]) -> tuple[Translator, dict[str, Any]]:
    """Loads stage 1 for stage 2, with its adapters merged.

    Arguments:
        checkpoint: a `.ckpt` file, or a run folder, of stage 1.

    Returns:
        The network, and its hyper-parameters `data` and `model`, from which `network_of_stage` creates it again.

    Raises:
        UserError: as for `load_network`, or the checkpoint is of stage 2.
    """
    path = find_checkpoint(checkpoint)
    saved = load_network(path)
    if not isinstance(saved.network, Translator):
        raise UserError(f"{path} is of stage 2; data.stage1_dir takes a stage 1, such as RUN/checkpoints/stage1")
    content = read_checkpoint(path)["hyper_parameters"]
    model = {key: value for key, value in content.items() if key not in ("train", "data")}
    if "lora_rank" in model:
        model["lora_rank"] = 0  # merged
    return saved.network, {"data": dict(saved.data), "model": model}


def network_of_stage(settings: Mapping[str, Any]) -> Translator | TwoStages:
    """Creates the network of a checkpoint's hyper-parameters, without weights.

    Arguments:
        settings: hyper-parameters of a task of this domain; those of stage 2 contain `stage1`.

    Raises:
        UserError: a setting is unknown or not allowed, as in a checkpoint of another version.
    """
    model = {key: value for key, value in settings.items() if key not in ("train", "data", "stage1")}
    first = settings.get("stage1")
    if first is None:
        return Translator(split_stage1(model)[0], settings["data"], read_weights=False)
    translator = Translator(split_stage1(first["model"])[0], first["data"], read_weights=False)
    return TwoStages(translator, Refiner(split_stage2(model)[0], settings["data"]))


def find_checkpoint(path: str | os.PathLike[str]) -> Path:
    """Returns the best checkpoint of a run folder, or the path itself if it is no folder.

    Raises:
        UserError: the folder has no `best.ckpt`.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    for name in ("checkpoints/best.ckpt", "best.ckpt"):
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path}: has no checkpoints/best.ckpt; choose the folder of a finished run, or a .ckpt file")


def _data_settings(path: Path, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    data = settings.get("data")
    if not isinstance(data, Mapping) or not set(NEEDED) <= set(data):
        raise UserError(
            f"{path} contains no satellite network: its hyper-parameters are {sorted(settings)}; "
            "choose checkpoints/best.ckpt of a run with model=axion_stage1 or model=axion_stage2"
        )
    return data


def _network_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(NETWORK): value for name, value in state.items() if name.startswith(NETWORK)}
