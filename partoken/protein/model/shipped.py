"""The encoder of the weights that ship with the package, as the start of a training: `model.init=pretrained`."""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from partoken.errors import UserError
from partoken.protein.model.residues import ResidueNetwork
from partoken.protein.model.settings import NetworkSettings, split_settings
from partoken.system.checkpoint import read_checkpoint
from partoken.system.shipped import shipped_weights

__all__ = ["ENCODER_WEIGHTS", "begin_encoder", "choose_init", "load_shipped_encoder", "shipped_encoder"]

log = logging.getLogger(__name__)

ENCODER_WEIGHTS = "enzymes"
"""Name of the weights that ship whose encoder a training starts with."""

_KEYS = {
    "gvp": ("node_in_dim", "node_h_dim", "edge_in_dim", "edge_h_dim", "num_layers", "num_neighbors", "seq_in"),
    "frames": ("node_h_dim", "num_layers", "num_neighbors", "seq_in"),
}
"""Settings on which the features of a residue depend, by the kind of the encoder."""


def choose_init(settings: NetworkSettings, init: str) -> str:
    """Returns `pretrained` or `random`: what `model.init` says, or what `auto` means for a network."""
    if init != "auto":
        return init
    path = shipped_weights().get(ENCODER_WEIGHTS)
    if path is None:
        log.warning("the encoder starts with new weights, because this installation has none (model.init=auto)")
        return "random"
    needed = _settings_of(read_checkpoint(path)["hyper_parameters"])
    other = [f"model.{key}={_shown(getattr(settings, key))}" for key in _differing_keys(settings, needed)]
    if settings.feature_width:
        other.append("data.residue_features")
    if other and torch.get_default_device().type != "meta":  # not for an outline, which is only checked
        log.info(
            "the encoder starts with new weights: those that ship are not for %s (model.init=auto)", ", ".join(other)
        )
    return "random" if other else "pretrained"


def begin_encoder(network: ResidueNetwork, init: str, given: str | None) -> None:
    """Gives the encoder the weights with which a training begins, as `model.init` says.

    Arguments:
        network: The network. Without memory for its weights it is only checked.
        init: `pretrained` or `random`.
        given: The checkpoint whose weights the network has already; None: its weights are random.

    Raises:
        UserError: as for `load_shipped_encoder`.
    """
    if init == "random":
        return
    if given is not None:
        log.info("the weights come from %s, not from the package (model.init)", given)
        return
    load_shipped_encoder(network)


def load_shipped_encoder(network: ResidueNetwork) -> None:
    """Loads the encoder of the weights that ship; other parts of the network keep their weights.

    Raises:
        UserError: this installation has no such weights, or they are for another architecture or for other inputs.
    """
    content = _read_shipped()
    _check_fit(network.settings, content["hyper_parameters"])
    if next(network.encoder.parameters()).is_meta:
        return
    _copy_encoder(content, network)
    log.info("the encoder starts with the weights that ship (model.init=pretrained), the other parts with new ones")


def shipped_encoder() -> ResidueNetwork:
    """Returns the encoder that ships, frozen, on the CPU and in evaluation mode.

    Raises:
        UserError: this installation has no such weights.
    """
    content = _read_shipped()
    network = ResidueNetwork(_settings_of(content["hyper_parameters"]))
    _copy_encoder(content, network)
    network.freeze_encoder()
    return network.eval()


def _read_shipped() -> dict[str, Any]:
    path = shipped_weights().get(ENCODER_WEIGHTS)
    if path is None:
        raise UserError(
            f"model.init=pretrained: this installation of partoken lacks pretrained/{ENCODER_WEIGHTS}.ckpt; install "
            "partoken again, or set model.init=random"
        )
    return read_checkpoint(path)


def _copy_encoder(content: Mapping[str, Any], network: ResidueNetwork) -> None:
    """Gives a network of the same architecture the encoder of a checkpoint."""
    for part in network.encoder_parts:
        module, prefix = getattr(network, part), f"network.{part}."
        if module is not None:
            weights = {name.removeprefix(prefix): value for name, value in content["state_dict"].items()}
            module.load_state_dict({name: weights[name] for name in module.state_dict()})


def _check_fit(settings: NetworkSettings, theirs: Mapping[str, Any]) -> None:
    """Rejects a network whose encoder is not that of the weights, naming each setting."""
    if settings.feature_width:
        raise UserError(
            f"model.init=pretrained: the encoder that ships reads no residue features, and data.residue_features has "
            f"{settings.feature_width} of each residue; set data.residue_features=null, or model.init=random"
        )
    needed = _settings_of(theirs)
    differing = _differing_keys(settings, needed)
    if not differing:
        return
    found = ", ".join(f"model.{key}={_shown(getattr(settings, key))}" for key in differing)
    wanted = " ".join(f"model.{key}={_shown(getattr(needed, key))}" for key in differing)
    raise UserError(
        f"model.init=pretrained: the encoder that ships has another architecture than {found}; set {wanted}, or "
        "model.init=random"
    )


def _settings_of(theirs: Mapping[str, Any]) -> NetworkSettings:
    """Returns the network's settings among the hyper-parameters of a checkpoint."""
    return split_settings({key: value for key, value in theirs.items() if key not in ("train", "data")})[0]


def _differing_keys(settings: NetworkSettings, needed: NetworkSettings) -> list[str]:
    """Returns the keys of the encoder that have other values than those of the weights."""
    keys = ("encoder", *_KEYS[needed.encoder])
    return [key for key in keys if _read(settings, key, needed.encoder) != _read(needed, key, needed.encoder)]


def _read(settings: NetworkSettings, key: str, encoder: str) -> Any:
    """Returns what an encoder reads of a setting: that of frames has no vectors."""
    value = getattr(settings, key)
    return value[0] if key == "node_h_dim" and encoder == "frames" else value


def _shown(value: Any) -> str:
    """Writes a value as it is typed on a command line."""
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower()
