"""The callbacks that a user adds to a run with the group `callbacks`."""

import inspect
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks as lightning

from partoken.config import instantiate
from partoken.errors import UserError
from partoken.system.targets import find_target

__all__ = ["build_callbacks"]

REFUSED: dict[type[pl.Callback], str] = {
    lightning.BatchSizeFinder: "it changes the batch size of a planned run; set train.batch_size",
    lightning.BaseFinetuning: "it changes the optimizer's parameters; train.stages freezes and unfreezes parts",
    lightning.GradientAccumulationScheduler: "it changes the planned steps; set trainer.accumulate_grad_batches",
    lightning.LearningRateFinder: "it trains before the run and changes the planned rate; set train.lr",
    lightning.StochasticWeightAveraging: "it changes the planned rate; a WeightAveraging callback does not",
}
"""Callbacks of Lightning that cannot work in a run that follows a plan, each with its reason."""


def build_callbacks(nodes: Any) -> list[pl.Callback]:
    """Creates the callbacks of a stage.

    Arguments:
        nodes: the group `callbacks`, plain: `_target_` and arguments of each callback, by a name of the user's choice.

    Raises:
        UserError: naming the callback, if its target is no callback or does not accept its arguments.
    """
    if not isinstance(nodes, Mapping):
        raise UserError(f"callbacks={nodes!r}: must be a mapping such as {{mine: {{_target_: my.module.Mine}}}}")
    return [_build(f"callbacks.{name}", node) for name, node in nodes.items() if node is not None]


def _build(key: str, node: Any) -> pl.Callback:
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{key}={node!r}: must be a mapping with _target_, the name of a callback, and its arguments")
    _check_target(key, node["_target_"])
    try:
        callback = instantiate(node, key)
    except UserError:
        raise
    except Exception as error:  # each callback refuses its arguments in its own way
        raise UserError(f"{key}: {node['_target_']} does not accept its arguments: {error}") from error
    if not isinstance(callback, pl.Callback):
        raise UserError(f"{key}._target_={node['_target_']}: must create a pytorch_lightning.Callback")
    return callback


def _check_target(key: str, target: str) -> None:
    """Rejects a class that is no callback before anything of it runs."""
    try:
        kind = find_target(target, f"{key}._target_")
    except (ImportError, AttributeError) as error:
        raise UserError(f"{key}._target_={target}: cannot be imported ({error}); correct it") from error
    if not inspect.isclass(kind):
        return  # a function may return a callback
    if not issubclass(kind, pl.Callback):
        raise UserError(f"{key}._target_={target}: must be a subclass of pytorch_lightning.Callback")
    for refused, reason in REFUSED.items():
        if issubclass(kind, refused):
            raise UserError(f"{key}._target_={target} cannot be used here: {reason}")
