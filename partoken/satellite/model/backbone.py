"""The interface behind which any network can translate radar, and its three implementations."""

import importlib
import pickle
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from partoken.errors import UserError
from partoken.satellite.baselines import Ridge
from partoken.satellite.model.settings import TranslatorSettings
from partoken.satellite.model.unet import UNet, pad_to_multiple
from partoken.system.targets import find_target

__all__ = ["Backbone", "FileBackbone", "TerraTorchBackbone", "UNetBackbone", "build_backbone"]

PATCH = 16
"""Side, in pixels, of the patches of TerraTorch's models; height and width of their input are multiples of it."""
S2L2A = 12
"""Bands of Sentinel-2 level 2A in TerraTorch: B01 to B09 with B8A after B08, B11 and B12."""
OWN_BANDS = (1, 2, 3, 7)
"""Where B02, B03, B04 and B08 are among them."""


class Backbone(nn.Module, ABC):
    """A network from radar to four optical bands."""

    @abstractmethod
    def forward(self, s1: Tensor, s1_mask: Tensor) -> Tensor:
        """Translates B images of any size.

        Arguments:
            s1: VV and VH in dB, `[B, 2, H, W]`; missing pixels have the mean of the training pixels.
            s1_mask: True where both are valid, `[B, H, W]`.

        Returns:
            Reflectance of b2, b3, b4 and b8, `[B, 4, H, W]`; values below 0 count as 0.
        """


class UNetBackbone(Backbone):
    """The compact U-Net, which corrects a simple answer: that of the ridge regression, or the mean of each band.

    Arguments:
        settings: its keys for the U-Net.
        data: `DataModule.settings()`: means and standard deviations of all bands, and the baselines.
    """

    s1_mean: Tensor
    s1_std: Tensor
    s2_mean: Tensor
    s2_std: Tensor

    def __init__(self, settings: TranslatorSettings, data: Mapping[str, Any]) -> None:
        super().__init__()
        for name in ("s1_mean", "s1_std", "s2_mean", "s2_std"):
            values = torch.tensor(data[name], dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.ridge = Ridge(data["baselines"]["ridge"]) if settings.start_from == "ridge" else None
        self.unet = UNet(
            in_channels=3 if self.ridge is None else 7,
            out_channels=4,
            channels=settings.channels,
            depths=settings.depths,
            drop_rate=settings.drop_rate,
            checkpoint_activations=settings.checkpoint_activations,
        )

    def forward(self, s1: Tensor, s1_mask: Tensor) -> Tensor:
        inputs = [(s1 - self.s1_mean) / self.s1_std, s1_mask.unsqueeze(1).to(s1.dtype)]
        start = self.s2_mean
        if self.ridge is not None:
            start = self.ridge(s1, s1_mask)
            inputs.append((start - self.s2_mean) / self.s2_std)
        correction: Tensor = self.unet(torch.cat(inputs, 1))
        return start + self.s2_std * correction


class FileBackbone(Backbone):
    """A network of the user's, called with the radar `[B, 2, H, W]` in dB; it returns reflectance `[B, 4, H, W]`.

    Arguments:
        path: a TorchScript file, or a `state_dict` of `kind`.
        kind: `_target_` of the network's class, and its arguments. None: the file is TorchScript.
        read_weights: False: the weights come from a checkpoint; a TorchScript file is read all the same.

    Raises:
        UserError: the file or the class cannot be used.
    """

    def __init__(self, path: str, kind: Mapping[str, Any] | None, *, read_weights: bool = True) -> None:
        super().__init__()
        self.path = path
        needs_file = read_weights or kind is None
        if needs_file and not Path(path).is_file():
            raise UserError(f"model.backbone_file={path}: no such file")
        self.network = _read_torchscript(path) if kind is None else _create(kind)
        if kind is not None and read_weights:
            _load_weights(self.network, path)

    def forward(self, s1: Tensor, s1_mask: Tensor) -> Tensor:
        output: Any = self.network(s1)
        expected = (len(s1), 4, *s1.shape[2:])
        if not isinstance(output, Tensor) or tuple(output.shape) != expected:
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(
                f"model.backbone_file={self.path}: the network returns {found} for radar of shape {tuple(s1.shape)}; "
                f"it must return a tensor of shape {expected}, the reflectance of b2, b3, b4 and b8"
            )
        return output


class TerraTorchBackbone(Backbone):
    """A generative model of TerraTorch's registry, such as TerraMind, from S1GRD to S2L2A.

    See also:
        https://ibm.github.io/terratorch

    Arguments:
        name: in `FULL_MODEL_REGISTRY`.
        timesteps: steps of the generation.
        pretrained: download its weights.

    Raises:
        UserError: TerraTorch is not installed, or does not have or cannot load the model.
    """

    def __init__(self, name: str, *, timesteps: int, pretrained: bool) -> None:
        super().__init__()
        self.timesteps = timesteps
        try:
            registry = importlib.import_module("terratorch.registry").FULL_MODEL_REGISTRY
        except ImportError as error:
            raise UserError(
                f"model.backbone=terratorch: TerraTorch cannot be imported ({error}); "
                "pip install 'partoken[terratorch]'"
            ) from error
        try:
            self.network: nn.Module = registry.build(
                name, modalities=["S1GRD"], output_modalities=["S2L2A"], pretrained=pretrained, standardize=True
            )
        except Exception as error:  # each model of the registry fails in its own way
            reason = " ".join(str(error).split())
            raise UserError(f"model.terratorch_name={name}: TerraTorch cannot build the model: {reason}") from error

    def forward(self, s1: Tensor, s1_mask: Tensor) -> Tensor:
        height, width = s1.shape[2:]
        output: Any = self.network({"S1GRD": pad_to_multiple(s1, PATCH)}, timesteps=self.timesteps)
        bands = output["S2L2A"] if isinstance(output, Mapping) else output
        if bands.shape[1] != S2L2A:
            raise UserError(f"model.backbone=terratorch: the model returns {bands.shape[1]} bands, S2L2A has {S2L2A}")
        reflectance: Tensor = bands[:, OWN_BANDS, :height, :width] / 10_000
        return reflectance


def build_backbone(settings: TranslatorSettings, data: Mapping[str, Any], *, read_weights: bool = True) -> Backbone:
    """Creates the backbone that `model.backbone` names.

    Arguments:
        settings: of stage 1.
        data: `DataModule.settings()`.
        read_weights: False: the weights come from a checkpoint, so none are read or downloaded.

    Raises:
        UserError: the backbone cannot be created.
    """
    if settings.backbone == "file":
        assert settings.backbone_file is not None, "the settings are checked"
        return FileBackbone(settings.backbone_file, settings.backbone_class, read_weights=read_weights)
    if settings.backbone == "terratorch":
        return TerraTorchBackbone(
            settings.terratorch_name,
            timesteps=settings.terratorch_timesteps,
            pretrained=settings.terratorch_pretrained and read_weights,
        )
    return UNetBackbone(settings, data)


def _read_torchscript(path: str) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)  # users have such files all the same
            network: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"model.backbone_file={path}: is no TorchScript file; for a state_dict, also set "
            "model.backbone_class={_target_: package.Network}"
        ) from error
    return network


def _create(kind: Mapping[str, Any]) -> nn.Module:
    key, target = "model.backbone_class._target_", kind["_target_"]
    try:
        found = find_target(target, key)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{key}={target}: cannot be created: {error}") from error
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise UserError(f"{key}={target}: creates no torch.nn.Module; name a class of networks")
    try:
        return found(**{name: value for name, value in kind.items() if name != "_target_"})
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}={target}: cannot be created: {error}") from error


def _read_state(path: str) -> Any:
    """Returns the content of a file of weights; only tensors and plain values are read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            "it is damaged, or holds more than tensors and plain values, which could run code; save a state_dict"
        ) from error


def _load_weights(network: nn.Module, path: str) -> None:
    try:
        state = _read_state(path)
        network.load_state_dict(state.get("state_dict", state))
    except Exception as error:  # torch raises a different type for each kind of damage
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"model.backbone_file={path}: does not fit {type(network).__name__} of model.backbone_class: {reason}"
        ) from error
