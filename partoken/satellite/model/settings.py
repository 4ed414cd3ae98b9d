"""Settings of both networks and of their losses: the keys of `model` in the configuration, checked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from partoken.errors import UserError, check_choice, check_flag, check_number, check_text, did_you_mean

__all__ = [
    "RefinerSettings",
    "Stage1Losses",
    "Stage2Losses",
    "TranslatorSettings",
    "split_stage1",
    "split_stage2",
]

BACKBONES = ("unet", "file", "terratorch")
STARTS = ("ridge", "mean")

Network = TypeVar("Network")
Losses = TypeVar("Losses")


@dataclass(frozen=True, kw_only=True)
class TranslatorSettings:
    """Everything that decides the architecture of stage 1, `Translator`.

    Raises:
        UserError: a value is not allowed; the message names its key under `model`.

    Example:
        >>> TranslatorSettings(channels=[8, 16], depths=[1, 1]).channels
        (8, 16)
        >>> TranslatorSettings(backbone="vit")
        Traceback (most recent call last):
        partoken.errors.UserError: model.backbone=vit: choose unet, file or terratorch.
    """

    backbone: str = "unet"
    """Which network translates: unet, the compact U-Net; file, a network from `backbone_file`; terratorch, one of
    TerraTorch's registry."""

    # U-Net

    channels: Sequence[int] = (16, 32, 64, 96)
    """Channels of each level of the U-Net, from the full resolution to the lowest; a level halves height and width."""
    depths: Sequence[int] = (1, 1, 2, 2)
    """Blocks of each level in the encoder; the decoder has one per level."""
    drop_rate: float = 0.2
    """Dropout rate in the blocks, from 0 to below 1."""
    start_from: str = "ridge"
    """What the U-Net corrects: ridge, the answer of the ridge regression of the training tiles, which it also reads;
    mean, the mean reflectance of each band."""

    # Another backbone

    backbone_file: str | None = None
    """Weights for backbone=file: a TorchScript file, or the state_dict of `backbone_class`."""
    backbone_class: Mapping[str, Any] | None = None
    """`_target_` of the class whose weights `backbone_file` has, with its arguments. None: the file is TorchScript."""
    terratorch_name: str = "terramind_v1_base_generate"
    """Name in TerraTorch's registry, for backbone=terratorch."""
    terratorch_timesteps: int = 10
    """Steps of its generation, 1 or more."""
    terratorch_pretrained: bool = True
    """True: TerraTorch downloads its weights. False: they start from chance."""

    # Adapters and memory

    lora_rank: int = 0
    """Rank of the low-rank adapters; with them only the adapters of another backbone are trained. 0: none."""
    lora_targets: Sequence[str] = ("*attn*", "*mlp*")
    """Patterns for the names of linear layers that get adapters; `*` stands for any letters."""
    checkpoint_activations: bool = False
    """True: activations of the blocks are computed again in the backward pass, which saves memory and costs time."""

    def __post_init__(self) -> None:
        check_choice("model.backbone", self.backbone, BACKBONES)
        check_choice("model.start_from", self.start_from, STARTS)
        _check_counts(self, "channels", "depths")
        if len(self.channels) != len(self.depths):
            raise UserError(
                f"model.depths={list(self.depths)}: must have one number for each of the {len(self.channels)} levels "
                f"of model.channels={list(self.channels)}"
            )
        check_number("model.drop_rate", self.drop_rate, minimum=0, below=1)
        check_number("model.terratorch_timesteps", self.terratorch_timesteps, minimum=1, whole=True)
        check_number("model.lora_rank", self.lora_rank, minimum=0, whole=True)
        check_text("model.terratorch_name", self.terratorch_name)
        check_text("model.backbone_file", self.backbone_file, optional=True)
        for key in ("terratorch_pretrained", "checkpoint_activations"):
            check_flag(f"model.{key}", getattr(self, key))
        self._check_file()
        self._check_targets()

    def _check_file(self) -> None:
        if self.backbone == "file" and self.backbone_file is None:
            raise UserError("model.backbone=file: needs model.backbone_file, a file with weights")
        if self.backbone != "file" and self.backbone_file is not None:
            raise UserError(
                f"model.backbone_file={self.backbone_file}: is read with model.backbone=file only; set it to null"
            )
        kind = self.backbone_class
        if kind is not None and not (isinstance(kind, Mapping) and isinstance(kind.get("_target_"), str)):
            raise UserError(
                f"model.backbone_class={kind!r}: must be a mapping with _target_, such as "
                "{_target_: package.Network}, or null"
            )
        if self.backbone != "file" and kind is not None:
            raise UserError(f"model.backbone_class={kind!r}: is used with model.backbone=file only; set it to null")

    def _check_targets(self) -> None:
        targets = self.lora_targets
        is_list = isinstance(targets, Sequence) and not isinstance(targets, str)
        if not is_list or not targets or not all(isinstance(item, str) and item for item in targets):
            raise UserError(f"model.lora_targets={targets!r}: must be a list of patterns such as ['*attn*', '*mlp*']")
        object.__setattr__(self, "lora_targets", tuple(targets))


@dataclass(frozen=True, kw_only=True)
class Stage1Losses:
    """Everything that decides what stage 1 minimises.

    The loss is the sum of the terms of `partoken.satellite.losses`, each times its weight.

    Raises:
        UserError: a value is not allowed; the message names its key under `model`.
    """

    lambda_l1: float = 1.0
    """Weight of the absolute error, at least 0."""
    lambda_l2: float = 10.0
    """Weight of the squared error, at least 0. The PSNR depends on it alone."""
    lambda_ssim: float = 0.05
    """Weight of the structural dissimilarity, at least 0."""
    lambda_edges: float = 0.01
    """Weight of the disagreement with the edges of the radar, at least 0."""
    lambda_angle: float = 0.1
    """Weight of the spectral angle, in radians, at least 0."""

    def __post_init__(self) -> None:
        _check_weights(self)

    def by_name(self) -> dict[str, float]:
        """Returns the weight of each term."""
        return _by_name(self)


@dataclass(frozen=True, kw_only=True)
class RefinerSettings:
    """Everything that decides the architecture of stage 2: `Refiner` and `PatchDiscriminator`.

    Raises:
        UserError: a value is not allowed; the message names its key under `model`.
    """

    stage1_checkpoint: str | None = None
    """Checkpoint or run folder of the stage 1 that is refined. A checkpoint of stage 2 contains it."""
    refiner_channels: int = 32
    """Channels of the refiner."""
    refiner_blocks: int = 4
    """Blocks of the refiner."""
    drop_rate: float = 0.2
    """Dropout rate in the blocks, from 0 to below 1."""
    use_month: bool = True
    """True: the refiner knows the month, where it is given."""
    use_biome: bool = True
    """True: the refiner knows the biome, where it is given."""
    condition_size: int = 16
    """Length of the vector that describes month and biome."""
    discriminator_channels: int = 16
    """Channels of the discriminator's first layer."""
    checkpoint_activations: bool = False
    """True: activations of the blocks are computed again in the backward pass, which saves memory and costs time."""

    def __post_init__(self) -> None:
        check_text("model.stage1_checkpoint", self.stage1_checkpoint, optional=True)
        for key in ("refiner_channels", "refiner_blocks", "condition_size", "discriminator_channels"):
            check_number(f"model.{key}", getattr(self, key), minimum=1, whole=True)
        check_number("model.drop_rate", self.drop_rate, minimum=0, below=1)
        for key in ("use_month", "use_biome", "checkpoint_activations"):
            check_flag(f"model.{key}", getattr(self, key))


@dataclass(frozen=True, kw_only=True)
class Stage2Losses:
    """Everything that decides what the refiner of stage 2 minimises.

    The loss is the sum of the terms of `partoken.satellite.losses`, each times its weight.

    Raises:
        UserError: a value is not allowed; the message names its key under `model`.
    """

    lambda_l1: float = 1.0
    """Weight of the absolute error, at least 0."""
    lambda_l2: float = 10.0
    """Weight of the squared error, at least 0. The PSNR depends on it alone."""
    lambda_ssim: float = 0.1
    """Weight of the structural dissimilarity, at least 0."""
    lambda_ndvi: float = 0.05
    """Weight of the error of the vegetation index NDVI, at least 0."""
    lambda_evi: float = 0.05
    """Weight of the error of the vegetation index EVI, at least 0."""
    lambda_angle: float = 0.2
    """Weight of the spectral angle, in radians, at least 0."""
    lambda_identity: float = 0.1
    """Weight of the absolute difference from the output of stage 1, at least 0."""
    lambda_edges: float = 0.1
    """Weight of the edge guard, at least 0."""
    lambda_adversarial: float = 1e-3
    """Weight of the adversarial loss, at least 0. 0: the discriminator learns, and the refiner ignores it."""

    def __post_init__(self) -> None:
        _check_weights(self)

    def by_name(self) -> dict[str, float]:
        """Returns the weight of each term."""
        return _by_name(self)


def split_stage1(model: Mapping[str, Any]) -> tuple[TranslatorSettings, Stage1Losses]:
    """Sorts the flat keys of `model` into the settings of stage 1's network and of its loss.

    Raises:
        UserError: a key is unknown, or a value is not allowed.

    Example:
        >>> network, losses = split_stage1({"drop_rate": 0.0, "lambda_ssim": 0.5})
        >>> network.drop_rate, losses.lambda_ssim
        (0.0, 0.5)
    """
    return _split(model, TranslatorSettings, Stage1Losses, "stage 1")


def split_stage2(model: Mapping[str, Any]) -> tuple[RefinerSettings, Stage2Losses]:
    """Sorts the flat keys of `model` into the settings of stage 2's networks and of its loss.

    Raises:
        UserError: a key is unknown, or a value is not allowed.
    """
    return _split(model, RefinerSettings, Stage2Losses, "stage 2")


def _split(
    model: Mapping[str, Any], network: type[Network], losses: type[Losses], stage: str
) -> tuple[Network, Losses]:
    network_keys, loss_keys = ({item.name for item in fields(kind)} for kind in (network, losses))  # type: ignore[arg-type]
    for key in model:
        if key not in network_keys | loss_keys:
            known = [f"model.{name}" for name in sorted(network_keys | loss_keys)]
            raise UserError(f"model.{key} is not a setting of {stage}.{did_you_mean(f'model.{key}', known)}")
    return (
        network(**{key: value for key, value in model.items() if key in network_keys}),
        losses(**{key: value for key, value in model.items() if key in loss_keys}),
    )


def _check_counts(settings: Any, *keys: str) -> None:
    """Checks lists of whole numbers, and turns the lists of the YAML file into tuples."""
    for key in keys:
        value = getattr(settings, key)
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise UserError(f"model.{key}={value!r}: must be a list of whole numbers such as [16, 32, 64]")
        for item in value:
            check_number(f"model.{key}", item, minimum=1, whole=True)
        object.__setattr__(settings, key, tuple(value))


def _check_weights(settings: Any) -> None:
    for item in fields(settings):
        check_number(f"model.{item.name}", getattr(settings, item.name), minimum=0)


def _by_name(settings: Any) -> dict[str, float]:
    return {item.name.removeprefix("lambda_"): float(getattr(settings, item.name)) for item in fields(settings)}
