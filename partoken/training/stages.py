"""A run is a list of stages, each with its own length, rates and frozen parts."""

from collections.abc import Mapping
from typing import Any

from partoken.errors import UserError, did_you_mean

__all__ = ["read_stages"]

RATES = ("lr", "use_cosine_schedule", "warmup_epochs", "warmup_steps", "min_lr", "num_cycles")
KEYS = ("epochs", *RATES, "freeze")


def read_stages(train: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the train config of each stage; a run without `train.stages` is one stage of `train.epochs`.

    A stage takes from `train` what it does not set. Besides the keys of its rates and its `epochs` it may list in
    `freeze` the parts of the model that stand still in it, by their names.

    Raises:
        UserError: no stage, an unknown key, a length that is not a whole number above 0.

    >>> train = {"epochs": 9, "lr": 0.1, "stages": [{"epochs": 3}, {"epochs": 2, "lr": 0.01, "freeze": ["network.0"]}]}
    >>> [(stage["epochs"], stage["lr"], stage["freeze"]) for stage in read_stages(train)]
    [(3, 0.1, []), (2, 0.01, ['network.0'])]
    """
    stages = train["stages"]
    if stages is None:
        return [{**train, "freeze": []}]
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, Mapping) for stage in stages):
        raise UserError(
            f"train.stages={stages}: a list of stages is needed, such as [{{epochs: 10}}, {{epochs: 5, lr: 1e-4}}]"
        )
    for number, stage in enumerate(stages):
        for key in stage:
            if key not in KEYS:
                raise UserError(f"train.stages[{number}].{key} is no key of a stage.{did_you_mean(key, KEYS)}")
        epochs = stage.get("epochs")
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
            raise UserError(
                f"train.stages[{number}].epochs={epochs}: every stage needs a whole number of epochs above 0"
            )
    return [{**train, "freeze": [], **stage} for stage in stages]
