"""How far the training is that a checkpoint continues, read from what Lightning and the task have saved."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from partoken.errors import UserError
from partoken.schedule.length import Done

__all__ = ["SCHEDULE_KEY", "SavedState"]

SCHEDULE_KEY = "partoken_schedule"
"""Where a task saves the steps and the plan of its optimizers."""

PARTS = ("loops", "optimizer_states", "lr_schedulers", "callbacks", SCHEDULE_KEY)
"""What a checkpoint must hold, beside its weights, so that a training can continue."""


@dataclass(frozen=True)
class SavedState:
    """The progress of the stage that a checkpoint was written in."""

    epochs: int
    """Whole epochs of the stage."""
    steps: int
    """Steps of each optimizer in the stage, those that were skipped included."""
    batches: int
    """Batches of the epoch within which the checkpoint was written; 0 at the end of an epoch."""
    schedules: Mapping[str, Mapping[str, Any]]
    """`step`, `plan` and last `rate` of each optimizer, by its name; the only optimizer has the name "". With
    `train.groups` also `groups`, the plan of each."""

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any]) -> Self:
        """Reads the content of a checkpoint.

        Raises:
            UserError: a part is missing without which a training cannot continue.
        """
        if missing := [name for name in PARTS if not checkpoint.get(name)]:
            raise _incomplete(f"has no {', no '.join(missing)}")
        try:
            loop = checkpoint["loops"]["fit_loop"]
            batches, epochs = loop["epoch_loop.batch_progress"], loop["epoch_progress"]["current"]
            # A run that ends within an epoch, after its last step, does not go back into that epoch.
            is_whole = batches["is_last_batch"] or epochs["processed"] == epochs["started"]
            schedules = _schedules(checkpoint[SCHEDULE_KEY])
            optimizers = checkpoint["optimizer_states"]
            if any(own["step"] for own in schedules.values()) and not any(own["state"] for own in optimizers):
                raise _incomplete("has no moments of its optimizer")
            return cls(
                epochs=epochs["started"] if is_whole else epochs["processed"],
                steps=checkpoint["global_step"] // len(optimizers),
                batches=0 if is_whole else batches["current"]["processed"],
                schedules=schedules,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _incomplete(f"its progress cannot be read ({type(error).__name__}: {error})") from error

    def done(self, accumulate: int) -> Done:
        """Returns what is done up to the beginning of the current epoch.

        Arguments:
            accumulate: batches whose gradients make one step.
        """
        return Done(epochs=self.epochs, steps=self.steps - self.batches // accumulate)


def _schedules(saved: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    schedules = saved.get("optimizers") or {"": saved}
    # A checkpoint of an older version has no rate.
    return {
        name: {"rate": math.nan, **{key: own[key] for key in ("step", "plan", "rate", "groups") if key in own}}
        for name, own in schedules.items()
    }


def _incomplete(found: str) -> UserError:
    return UserError(
        f"no training can continue from this checkpoint: it {found}; resume from checkpoints/last.ckpt of a run, or "
        "start a new run with these weights: train.weights_from=CHECKPOINT"
    )
