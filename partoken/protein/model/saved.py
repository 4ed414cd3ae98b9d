"""Loading a trained network from a checkpoint, without Lightning."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from partoken.errors import UserError
from partoken.protein.model.labels import LearnedLabel, learned_labels
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import feature_width, split_settings
from partoken.system.checkpoint import read_checkpoint
from partoken.system.shipped import find_weights

__all__ = ["SavedNetwork", "load_network"]

_PREFIX = "network."
"""The task's attribute that holds the network: it begins the names in a checkpoint's `state_dict`."""


@dataclass(frozen=True)
class SavedNetwork:
    """A trained network, with everything that a prediction needs."""

    network: ParToken
    """The network on the CPU, in evaluation mode."""
    labels: tuple[LearnedLabel, ...]
    """The labels that it answers, in the order of its logits."""
    reading: Mapping[str, Any]
    """Limits for reading structures, as keyword arguments of `partoken.protein.sources.reading.read_file`."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What is known of weights that ship: `title`, `chains`, `recipe`, `licence`, `test` and more; else empty."""


def load_network(checkpoint: str | os.PathLike[str]) -> SavedNetwork:
    """Loads the network of a run.

    Arguments:
        checkpoint: A `.ckpt` file of a run, or the name of weights that ship; it is read with `weights_only=True`.

    Raises:
        UserError: the file does not exist, is damaged, or contains no ParToken network.
    """
    content = read_checkpoint(find_weights(checkpoint))
    settings = content.get("hyper_parameters", {})
    data = settings.get("data")
    if not isinstance(data, Mapping) or not _has_labels(data):
        raise UserError(
            f"{checkpoint} contains no ParToken network: its hyper-parameters are {sorted(settings)}; "
            "choose checkpoints/best.ckpt of a run with model=partoken"
        )
    model = {key: value for key, value in settings.items() if key not in ("train", "data")}
    try:
        network_settings, _ = split_settings(model)
        labels = learned_labels(data)
        network_settings = replace(network_settings, feature_width=feature_width(data))
        network = ParToken([len(label.class_names) for label in labels], network_settings)
        network.load_state_dict(_network_weights(content["state_dict"]))
        reading = dict(data["source"]["reading"])
    except (UserError, RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{checkpoint} contains no ParToken network of this version: {reason}") from error
    return SavedNetwork(
        network=network.eval(),
        labels=labels,
        reading=reading,
        about=content.get("about", {}),
    )


def _has_labels(data: Mapping[str, Any]) -> bool:
    """Checks that settings of data are those of labelled chains: of a single label, or of several."""
    return "source" in data and ("labels" in data or {"class_names", "multi_label"} <= set(data))


def _network_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
