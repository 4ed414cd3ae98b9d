"""What a run would cost, from a few measured steps of it.

The measurement is the run itself, in a folder that is deleted, stopped after some optimizer steps of each stage. Its
time without the parts that a run repeats is what a run has once. The parts that it repeats are multiplied.
"""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.schedule import RunLength
from partoken.system.process import peak_memory, prepare_process, process_age
from partoken.system.targets import trust, trusted
from partoken.training.engine import Present, carry_out
from partoken.training.probes.short_run import check_one_device, untraced
from partoken.training.probes.stopwatch import StageTimes, Stopwatch
from partoken.training.settings import TrainSettings

__all__ = ["Cost", "Measurement", "StageCost", "estimate", "measure", "measure_apart", "same_cost"]

FREE_KEYS = {"lr", "use_cosine_schedule", "schedule_interval", "warmup_epochs", "warmup_steps", "min_lr", "num_cycles"}
FREE_KEYS |= {"lr_scaling", "lr_scaling_base_batch", "scheduler", "weight_decay", "seed", "monitor", "monitor_mode"}
FREE_KEYS |= {"early_stopping_patience", "on_schedule_change", "on_nonfinite", "use_wandb", "wandb_project", "schedule"}
"""Keys of `train` and of its stages and optimizers that leave the cost of a step as it is."""
LENGTH_KEYS = {"epochs", "steps"}
TRAINER_LENGTH_KEYS = {"max_epochs", "max_steps", "max_time", "min_epochs", "min_steps"}
"""Keys that decide how many steps there are."""

LEAST_ERROR = 0.1
"""Half of the range of a total, as a fraction, if the measured steps are more alike than that: a machine is not always
equally fast."""


@dataclass(frozen=True)
class Measurement:
    """A measured run. Seconds and bytes."""

    once: float
    """What a run has once: start, data, models, the first steps' delay, pictures, the end."""
    seconds: float
    """Of the measurement."""
    stages: Sequence[StageTimes]
    memory: int
    """Highest resident memory of the process."""
    gpu_memory: int | None
    """Highest memory that torch held on the GPU; None: the run used none."""


@dataclass(frozen=True)
class StageCost:
    """What one stage of a run costs. Seconds."""

    name: str
    epochs: int
    steps: int
    step: float
    """Of an optimizer step."""
    training: float
    """Of the training in an epoch."""
    validation: float
    """Of a validation."""
    repeated: float
    """Of the whole stage: training, validations, tables and checkpoints, test."""
    error: float
    """Half of the range of `repeated`."""


@dataclass(frozen=True)
class Cost:
    """What a run costs. Seconds."""

    stages: Sequence[StageCost]
    once: float
    measurement: Measurement

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.once + sum(stage.repeated for stage in self.stages)

    @property
    def error(self) -> float:
        """Half of the range of `seconds`."""
        return max(LEAST_ERROR * self.seconds, sum(stage.error for stage in self.stages))


def measure(
    settings: Mapping[str, Any],
    *,
    run_folder: str | None = None,
    before: float = 0.0,
    present: Present | None = None,
) -> Measurement:
    """Carries out the beginning of each stage of a run, and leaves nothing.

    Loggers are left out. A stage that stores results for later ones (`TrainStage.finish`) does so in whole.

    Arguments:
        settings: the groups of the configuration, plain.
        run_folder: as for `untraced`.
        before: seconds that the process has spent until now for a run: imports, configuration.
        present: draws the pictures of a run folder.

    Raises:
        UserError: the run cannot be carried out, or it would use several devices.
    """
    check_one_device("cost=true", settings["trainer"])
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start, watch = time.perf_counter() - before, Stopwatch()
    with untraced(settings, run_folder) as (own, folder):
        evaluated = {"check_val_every_n_epoch": 1, "val_check_interval": 1.0}
        own["trainer"] = {**own["trainer"], **evaluated}
        carry_out(own, folder, present=present, callbacks=[watch])
    seconds = time.perf_counter() - start
    once = max(0.0, seconds - sum(stage.measured_seconds for stage in watch.stages))
    used = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    return Measurement(once, seconds, watch.stages, peak_memory(), used or None)


def same_cost(settings: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether one measurement serves two runs, because they differ only in rates, seeds and lengths.

    Another seed may split the data otherwise, so that an epoch has a batch more or less; that is neglected.

    Arguments:
        settings: the groups of the configuration of a run, plain.
        other: those of another run.

    >>> run = {"data": {}, "model": {"width": 8}, "train": {"lr": 0.1, "epochs": 3, "batch_size": 8}, "trainer": {}}
    >>> same_cost(run, {**run, "train": {"lr": 0.2, "epochs": 9, "batch_size": 8}})
    True
    >>> same_cost(run, {**run, "model": {"width": 16}})
    False
    """
    return _of_steps(settings) == _of_steps(other)


def estimate(settings: Mapping[str, Any], measurement: Measurement) -> Cost:
    """Multiplies what was measured by the lengths of a run.

    Arguments:
        settings: the groups of the configuration of the run, plain.
        measurement: of this run, or of one with the `same_cost`.

    Raises:
        UserError: the length of the run is not known.
    """
    stages = TrainSettings.read(settings["train"]).run_stages()
    stages = stages[len(stages) - len(measurement.stages) :]  # a resumed run has finished the first ones
    trainer = settings["trainer"]
    costs = []
    for stage, times in zip(stages, measurement.stages, strict=True):
        if not times.first_window[0]:  # it was only tested
            validation = times.validation.whole
            costs.append(StageCost(times.name, 0, 0, 0.0, 0.0, validation, validation + times.test.whole, 0.0))
            continue
        batches = None if times.batches_per_epoch == math.inf else int(times.batches_per_epoch)
        if stage.has_length:
            length = RunLength.count(epochs=stage.epochs, max_steps=stage.steps, steps_per_epoch=times.steps_per_epoch)
        else:
            unlimited = {**trainer, "limit_train_batches": 1.0, "overfit_batches": 0.0}
            length = RunLength.of_trainer(unlimited, batches)
        costs.append(_estimate_stage(times, length, trainer))
    return Cost(costs, measurement.once, measurement)


def measure_apart(settings: Mapping[str, Any], present: Present | None = None) -> Measurement:
    """Measures a run in a process of its own; see `measure`."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure_here, settings, present, trusted()).result()


def _measure_here(settings: Mapping[str, Any], present: Present | None, targets: list[str]) -> Measurement:
    prepare_process()
    trust(targets)
    return measure(settings, before=process_age(), present=present)


def _of_steps(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that decide what a step costs."""
    left_out = TRAINER_LENGTH_KEYS
    trainer = {key: value for key, value in settings["trainer"].items() if key not in left_out}
    groups = {name: settings.get(name) for name in ("data", "model", "callbacks", "fit", "test")}
    return {**groups, "train": _without_free_keys(settings["train"]), "trainer": trainer}


def _without_free_keys(value: Any) -> Any:
    """Returns `train` without the keys that change no step, also inside stages and optimizers."""
    if isinstance(value, Mapping):
        left_out = FREE_KEYS | LENGTH_KEYS
        return {key: _without_free_keys(item) for key, item in value.items() if key not in left_out}
    return [_without_free_keys(item) for item in value] if isinstance(value, list) else value


def _estimate_stage(times: StageTimes, length: RunLength, trainer: Mapping[str, Any]) -> StageCost:
    """Returns the cost of the steps that a stage of this length takes."""
    step = times.accumulate * times.batch_seconds
    limit = _max_time(trainer)
    total_steps = length.total_steps
    if total_steps is None:
        if limit is None:
            raise UserError(
                f"cost=true: the length of the run is unknown, trainer.max_epochs={trainer.get('max_epochs')} and "
                f"trainer.max_steps={trainer.get('max_steps', -1)}; set one of them, or trainer.max_time"
            )
        total_steps = times.first_step + round(limit / step)
    batches = _batches(total_steps, times) - _batches(times.first_step, times)
    epochs = 1 if times.steps_per_epoch is None else math.ceil(total_steps / times.steps_per_epoch)
    epochs -= times.first_epoch
    validations = _num_validations(epochs, batches, times, trainer) if times.validation.num_batches else 0
    ends = epochs * times.epoch_end_seconds / max(1, times.epochs)
    training = batches * times.batch_seconds
    fitting = training + ends + validations * times.validation.whole
    capped = fitting if limit is None else min(fitting, limit)
    per_epoch = batches if times.steps_per_epoch is None else int(times.batches_per_epoch)
    return StageCost(
        name=times.name,
        epochs=epochs,
        steps=total_steps - times.first_step,
        step=step,
        training=per_epoch * times.batch_seconds,
        validation=times.validation.whole if validations else 0.0,
        repeated=capped + times.test.whole,
        error=2 * times.relative_error * min(training, capped),
    )


def _batches(steps: int, times: StageTimes) -> int:
    """Returns the training batches of a number of optimizer steps from the beginning of the stage."""
    if times.steps_per_epoch is None:
        return steps * times.accumulate
    epochs, rest = divmod(steps, times.steps_per_epoch)
    return int(epochs * times.batches_per_epoch + min(rest * times.accumulate, times.batches_per_epoch))


def _num_validations(epochs: int, batches: int, times: StageTimes, trainer: Mapping[str, Any]) -> int:
    """Returns the number of validations of a stage, as Lightning counts them."""
    every, interval = trainer.get("check_val_every_n_epoch", 1), trainer.get("val_check_interval") or 1.0
    if every is None:
        return int(batches // interval) if isinstance(interval, int) else 0
    if times.steps_per_epoch is None:
        return int(batches // interval) if isinstance(interval, int) else epochs // every
    between = interval if isinstance(interval, int) else max(1, int(times.batches_per_epoch * interval))
    return int(epochs // every * max(1, times.batches_per_epoch // between))


def _max_time(trainer: Mapping[str, Any]) -> float | None:
    """Returns the seconds after which `trainer.max_time` ends the training of a stage; None: it is not set."""
    if trainer.get("max_time") is None:
        return None
    return pl.callbacks.Timer(duration=trainer["max_time"]).time_remaining()
