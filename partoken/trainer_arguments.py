"""The arguments of Lightning's Trainer that a run may have, and their values.

Lightning checks some arguments only when it uses them, after the data is read or after an epoch, and others never. Here
they are all checked before anything is read. It imports no torch, and Lightning only for a key that no file of `conf/`
lists.
"""

import datetime
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from partoken.errors import UserError, check_choice, check_flag, check_number, did_you_mean
from partoken.overrides import CONF, keys_of_file

__all__ = ["check_trainer"]

SET_BY_THE_RUN = ("callbacks", "logger", "plugins", "default_root_dir", "enable_checkpointing", "fast_dev_run")
"""Arguments of Lightning's Trainer that the run sets itself."""

SWITCHES = (
    "enable_progress_bar",
    "enable_model_summary",
    "detect_anomaly",
    "inference_mode",
    "use_distributed_sampler",
    "sync_batchnorm",
    "enable_autolog_hparams",
)

WHOLE_NUMBERS = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 0,
    "num_nodes": 1,
    "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0,
}
"""Smallest value of each argument that counts something."""

SHARES = {
    "limit_train_batches": True,
    "limit_val_batches": False,
    "limit_test_batches": True,
    "limit_predict_batches": False,
    "overfit_batches": False,
    "val_check_interval": True,
}
"""Arguments that are a number of batches or a fraction of them; True: 0 is not allowed."""

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "64-true", "32", "64", "16", "bf16")
"""The optimizer needs weights of 32 or 64 bits, so "16-true" and its relatives are missing."""

STRATEGIES = ("auto", "ddp", "ddp_spawn", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")
"""Strategies in which every process has the whole model, as the checkpoints of a run have it."""

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PROFILERS = ("simple", "advanced", "pytorch")
CLIP_ALGORITHMS = ("norm", "value")
TIME_UNITS = ("weeks", "days", "hours", "minutes", "seconds")


def check_trainer(trainer: Any, train: Mapping[str, Any] | None = None) -> None:
    """Rejects arguments that Lightning would refuse late, or accept and then not follow.

    Arguments:
        trainer: the `trainer` group of the configuration, plain; missing keys have Lightning's defaults.
        train: the `train` group, plain; None: it is not checked whether it needs a validation.

    Raises:
        UserError: naming the key, what was found and what is allowed.
    """
    if not isinstance(trainer, Mapping):
        raise UserError(f"trainer={trainer!r}: must be the arguments of Lightning's Trainer; leave it out for defaults")
    _check_keys(map(str, trainer))
    for name in trainer:
        if name in WHOLE_NUMBERS:
            check_number(f"trainer.{name}", trainer[name], minimum=WHOLE_NUMBERS[name], whole=True)
        if name in SWITCHES:
            check_flag(f"trainer.{name}", trainer[name])
        if name in SHARES:
            _check_share(name, trainer[name])
    _check_choices(trainer)
    _check_length(trainer)
    check_number("trainer.gradient_clip_val", trainer.get("gradient_clip_val"), minimum=0, optional=True)
    if trainer.get("barebones"):
        raise UserError("trainer.barebones=true: a run needs its checkpoints and its tables; leave it out")
    _check_validation(trainer, train or {})


def _check_keys(keys: Iterable[str]) -> None:
    """Checks that keys are arguments of Lightning's Trainer that a user may set."""
    listed = keys_of_file("trainer/default.yaml") if CONF.is_dir() else ()
    for key in keys:
        if key in SET_BY_THE_RUN:
            raise UserError(f"trainer.{key} is set by the run itself and cannot be given")
        if key not in listed:
            import pytorch_lightning as pl  # seconds

            known = list(inspect.signature(pl.Trainer.__init__).parameters)[1:]
            if key not in known:
                raise UserError(f"trainer.{key} is no argument of Lightning's Trainer.{did_you_mean(key, known)}")


def _check_share(name: str, value: Any) -> None:
    """Checks a number of batches, or a fraction of those of an epoch."""
    if value is None and name != "val_check_interval":
        return  # all of them
    is_count = isinstance(value, int) and not isinstance(value, bool)
    above_zero = SHARES[name]
    if name == "limit_test_batches" and value == 0:
        raise UserError(f"trainer.limit_test_batches={value}: nothing would be tested; set test=false for such a run")
    try:
        limits: dict[str, Any] = {"above" if above_zero else "minimum": 0, "maximum": None if is_count else 1}
        check_number(f"trainer.{name}", value, **limits)
    except UserError:
        low = "above 0" if above_zero else "of 0 or more"
        raise UserError(
            f"trainer.{name}={value!r}: must be a whole number of batches {low}, or a fraction of those of an epoch, "
            "at most 1.0"
        ) from None


def _check_choices(trainer: Mapping[str, Any]) -> None:
    words = {"accelerator": ACCELERATORS, "strategy": STRATEGIES}
    for name, choices in words.items():
        if name in trainer:
            check_choice(f"trainer.{name}", trainer[name], choices)
    check_choice("trainer.profiler", trainer.get("profiler"), PROFILERS, optional=True)
    algorithm = trainer.get("gradient_clip_algorithm")
    check_choice("trainer.gradient_clip_algorithm", algorithm, CLIP_ALGORITHMS, optional=True)
    if trainer.get("deterministic", False) != "warn":
        check_flag("trainer.deterministic", trainer.get("deterministic", False))
    if trainer.get("benchmark") is not None:
        check_flag("trainer.benchmark", trainer["benchmark"])
    precision = trainer.get("precision")
    if precision is not None and str(precision) not in PRECISIONS:
        raise UserError(
            f"trainer.precision={precision}: choose 32-true, 16-mixed, bf16-mixed or 64-true; in the mixed ones the "
            "network computes with 16 bits and keeps weights that learn"
        )


def _check_length(trainer: Mapping[str, Any]) -> None:
    """Checks what ends the run."""
    max_time, max_steps = trainer.get("max_time"), trainer.get("max_steps", -1)
    _check_time(max_time)
    if max_steps != -1:
        check_number("trainer.max_steps", max_steps, minimum=1, whole=True)
    max_epochs = trainer.get("max_epochs")
    is_endless = "max_epochs" in trainer and max_epochs in (None, -1)  # without the key, the keys of train decide
    if is_endless and max_time is None and max_steps == -1:
        raise UserError(
            f"trainer.max_epochs={max_epochs}: nothing would end the run; set train.epochs and leave it out, or set "
            "trainer.max_steps or trainer.max_time"
        )
    if max_epochs not in (None, -1):
        check_number("trainer.max_epochs", max_epochs, minimum=1, whole=True)
    for unit, limit in (("epochs", max_epochs), ("steps", max_steps)):
        least = trainer.get(f"min_{unit}")
        check_number(f"trainer.min_{unit}", least, minimum=0, whole=True, optional=True)
        if least is not None and limit not in (None, -1) and least > limit:
            raise UserError(f"trainer.min_{unit}={least}: the run ends after trainer.max_{unit}={limit}; set it lower")


def _check_time(max_time: Any) -> None:
    """Checks a time such as "00:12:00:00" (days, hours, minutes, seconds) or `{hours: 12}`."""
    if max_time is None:
        return
    seconds = 0.0
    if isinstance(max_time, str) and re.fullmatch(r"\d+:\d\d?:\d\d?:\d\d?", max_time):
        seconds = float(sum(map(int, max_time.split(":"))))  # only whether it is above 0 matters
    elif isinstance(max_time, Mapping) and set(max_time) <= set(TIME_UNITS):
        for unit, value in max_time.items():
            check_number(f"trainer.max_time.{unit}", value, minimum=0)
        seconds = datetime.timedelta(**max_time).total_seconds()
    if not seconds > 0:
        raise UserError(f"trainer.max_time={max_time!r}: must be DD:HH:MM:SS, as in 00:12:00:00, or {{hours: 12}}")


def _check_validation(trainer: Mapping[str, Any], train: Mapping[str, Any]) -> None:
    """Rejects settings that need a validation which the run does not have."""
    scheduler = train.get("scheduler")
    has_plateau = isinstance(scheduler, Mapping) and "ReduceLROnPlateau" in str(scheduler)
    if trainer.get("limit_val_batches", 1.0) == 0:
        found = "trainer.limit_val_batches=0: the run has no validation"
        if train.get("early_stopping_patience") is not None:
            raise UserError(f"{found}, which train.early_stopping_patience needs; set one of them to null")
        if has_plateau:
            raise UserError(f"{found}, which ReduceLROnPlateau of train.scheduler needs; leave one of them out")
    every = trainer.get("check_val_every_n_epoch", 1)
    if has_plateau and every != 1:
        raise UserError(
            f"train.scheduler: ReduceLROnPlateau needs a validation in every epoch, and "
            f"trainer.check_val_every_n_epoch={every}; set it to 1"
        )
