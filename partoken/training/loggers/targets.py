"""Which loggers a configuration names, checked before any data is read."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from partoken.errors import UserError
from partoken.system.targets import find_target
from partoken.training.loggers.label import RunLabel
from partoken.training.loggers.libraries import library_of
from partoken.training.settings import TrainSettings

__all__ = ["check_loggers", "logger_class", "logger_nodes"]

WANDB = {"_target_": "pytorch_lightning.loggers.WandbLogger"}
"""The logger of `train.use_wandb`, without its project and folder."""


def logger_nodes(settings: Mapping[str, Any], train: TrainSettings, folder: str = ".") -> dict[str, dict[str, Any]]:
    """Returns the loggers of a configuration: `_target_` and arguments of each, by name.

    Arguments:
        settings: the groups of the configuration, plain; only `logger` is read.
        train: `use_wandb` adds the logger "wandb", if there is none of that name.
        folder: the run folder, for the files of that logger.

    Raises:
        UserError: `logger` is no mapping of names to loggers.
    """
    group = settings.get("logger") or {}
    if not isinstance(group, Mapping):
        raise UserError(f"logger={group!r}: must be a mapping of names to loggers, such as {{mine: {{_target_: ...}}}}")
    if "_target_" in group:
        raise UserError(
            f"logger._target_={group['_target_']}: each logger needs a name; write logger.NAME._target_, and its "
            "arguments below logger.NAME too"
        )
    nodes = {}
    for name, node in group.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
            raise UserError(f"logger.{name}={node!r}: must be a mapping with _target_, the class of a logger")
        nodes[str(name)] = dict(node)
    if train.use_wandb:
        nodes.setdefault("wandb", {**WANDB, "project": train.wandb_project, "save_dir": folder})
    return nodes


def check_loggers(settings: Mapping[str, Any], train: TrainSettings) -> None:
    """Rejects loggers that cannot be created, and a wrong name or tag of the run.

    Arguments:
        settings: the groups of the configuration, plain; only `logger` and `run` are read.
        train: the train settings.

    Raises:
        UserError: naming the logger, what was found, what is allowed and the fix.
    """
    RunLabel.read(settings.get("run") or {}, Path())
    for name, node in logger_nodes(settings, train).items():
        library = library_of(logger_class(name, node))
        if library.extra is not None and importlib.util.find_spec(library.extra) is None:
            raise UserError(
                f"logger.{name} needs the package {library.extra}, which is not installed: pip install -e "
                f'".[{library.extra}]", or "partoken[{library.extra}]" without a clone'
            )


def logger_class(name: str, node: Mapping[str, Any]) -> type[Logger]:
    """Returns the class of a logger; nothing but loggers of Lightning is ever called.

    Arguments:
        name: of the logger in the configuration.
        node: with `_target_`.

    Raises:
        UserError: there is no such class, or it is no logger.
    """
    target = node["_target_"]
    try:
        kind = find_target(target, f"logger.{name}._target_")
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"logger.{name}._target_={target}: cannot be found ({error}); name a class as MODULE.CLASS, and add the "
            "folder of a module of yours to PYTHONPATH"
        ) from None
    if not isinstance(kind, type) or not issubclass(kind, Logger):
        raise UserError(
            f"logger.{name}._target_={target}: is no logger; allowed are classes of pytorch_lightning.loggers and "
            "your own subclasses of pytorch_lightning.loggers.Logger"
        )
    return kind
