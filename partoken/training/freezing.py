"""Stages that freeze parts of the model."""

import logging
from typing import Any

import pytorch_lightning as pl
from torch import nn

from partoken.errors import UserError, did_you_mean

__all__ = ["StageFreezer"]

log = logging.getLogger(__name__)


class StageFreezer(pl.Callback):
    """Makes the parts that the present stage freezes stand still, and the others move, as each epoch begins.

    Parameters under a frozen name get no gradient. A module that learns by other means than gradients says so with an
    attribute `frozen`, which is set.

    Arguments:
        stages: as `read_stages` returns them.
    """

    def __init__(self, stages: list[dict[str, Any]]) -> None:
        self.stages = stages

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = [name for name, _ in pl_module.named_modules() if name]
        for number, stage in enumerate(self.stages):
            for name in stage["freeze"]:
                if name not in names:
                    key = f"train.stages[{number}].freeze={name}"
                    raise UserError(
                        f"{key} is no part of the model.{did_you_mean(name, names)} Top parts: {_top(pl_module)}"
                    )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fit_loop.restarting:  # an epoch that goes on has no start of its own
            self._apply(trainer.current_epoch, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._apply(trainer.current_epoch, pl_module)

    def _apply(self, epoch: int, module: pl.LightningModule) -> None:
        number = 0
        while number < len(self.stages) - 1 and epoch >= self.stages[number]["epochs"]:
            epoch -= self.stages[number]["epochs"]
            number += 1
        frozen = self.stages[number]["freeze"]
        if epoch == 0 and len(self.stages) > 1:
            standing = f", {', '.join(frozen)} standing still" if frozen else ""
            log.info("stage %d of %d%s", number + 1, len(self.stages), standing)
        for name, part in module.named_modules():
            still = _under(name, frozen)
            for parameter in part.parameters(recurse=False):
                parameter.requires_grad_(not still)
            if isinstance(getattr(part, "frozen", None), bool):
                part.frozen = still


def _under(name: str, parts: list[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _top(module: nn.Module) -> str:
    names = [name for name, _ in module.named_modules() if name and name.count(".") < 2]
    return ", ".join(names[:20])
