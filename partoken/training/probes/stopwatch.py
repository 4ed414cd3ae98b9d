"""Times the parts of a run, which it stops as soon as the times are known."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch

from partoken.training.module import run_length, scheduled_module

__all__ = ["EvaluationTimes", "StageTimes", "Stopwatch"]

MIN_STEPS, MAX_STEPS = 3, 60
"""Optimizer steps that are measured, after a first one: at least, and at most."""
STEP_SECONDS = 10.0
"""Time after which no further step is measured, if there are `MIN_STEPS`."""
MIN_BATCHES = 4
"""Batches of a validation or test that are measured, at least."""
EVALUATION_SECONDS = 5.0
"""Time after which no further batch of a validation or test is measured."""


@dataclass
class EvaluationTimes:
    """Times of the validations of a stage, or of its test. Seconds."""

    num_batches: int = 0
    """Batches of a whole evaluation."""
    measured: int = 0
    """Batches that were measured."""
    batch_seconds: float = 0.0
    """Of all measured batches together."""
    calls: int = 0
    """Evaluations that were begun."""
    seconds: float = 0.0
    """Of these evaluations, with what comes before and after their batches."""

    @property
    def fixed(self) -> float:
        """Seconds of an evaluation beside its batches."""
        return (self.seconds - self.batch_seconds) / self.calls if self.calls else 0.0

    @property
    def whole(self) -> float:
        """Seconds of a whole evaluation."""
        return self.fixed + (self.num_batches * self.batch_seconds / self.measured if self.measured else 0.0)


@dataclass
class StageTimes:
    """What was measured in one stage. Seconds."""

    name: str
    batches_per_epoch: float
    """Training batches of an epoch; infinite for data without a length."""
    accumulate: int
    """Batches of an optimizer step."""
    steps_per_epoch: int | None
    """Optimizer steps of an epoch; None: unknown."""
    first_step: int = 0
    """Optimizer steps that a resumed stage has behind it."""
    first_epoch: int = 0
    """Epochs that a resumed stage has behind it."""
    first_window: tuple[int, float] = (0, 0.0)
    """Batches and seconds of the first optimizer step, which is slower than the others."""
    windows: list[tuple[int, float]] = field(default_factory=list)
    """Batches and seconds of each further optimizer step."""
    epochs: int = 0
    """Epochs that were begun."""
    epoch_end_seconds: float = 0.0
    """From the last step of each of these epochs to its end, without validation: tables and checkpoints."""
    validation: EvaluationTimes = field(default_factory=EvaluationTimes)
    test: EvaluationTimes = field(default_factory=EvaluationTimes)

    @property
    def batch_seconds(self) -> float:
        """Mean seconds of a training batch, with its share of the optimizer step."""
        windows = self.windows or [self.first_window]
        batches = sum(batches for batches, _ in windows)
        return sum(seconds for _, seconds in windows) / batches if batches else 0.0

    @property
    def relative_error(self) -> float:
        """Standard error of `batch_seconds`, as a fraction of it."""
        each = [seconds / batches for batches, seconds in self.windows]
        if len(each) < 2:
            return 0.0
        return statistics.stdev(each) / math.sqrt(len(each)) / statistics.mean(each)

    @property
    def measured_seconds(self) -> float:
        """Seconds of the measurement that the stage does not have just once."""
        batches = self.first_window[0] + sum(batches for batches, _ in self.windows)
        training = batches * self.batch_seconds
        return training + self.epoch_end_seconds + self.validation.seconds + self.test.seconds


class Stopwatch(pl.Callback):
    """Times every stage of a run, and stops each one, its validation and its test when enough is known.

    It is the last callback of the trainer but for the checkpoints.
    """

    def __init__(self) -> None:
        self.stages: list[StageTimes] = []
        self._mark = 0.0
        self._batches = 0
        self._evaluation_start = 0.0
        self._batch_start = 0.0
        self._inside = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = scheduled_module(pl_module)
        self.stages.append(
            StageTimes(
                name=module.stage.name,
                batches_per_epoch=trainer.num_training_batches,
                accumulate=trainer.accumulate_grad_batches * module.manual_steps.accumulate,
                steps_per_epoch=run_length(module).steps_per_epoch,
                first_step=module.optimizer_steps,
                first_epoch=trainer.current_epoch,
            )
        )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end_epoch()
        self.stages[-1].epochs += 1
        self._begin_step()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        times = self.stages[-1]
        self._batches += 1
        if (batch_idx + 1) % times.accumulate and not trainer.is_last_batch:
            return
        seconds = _now() - self._mark
        if times.first_window[0]:
            times.windows.append((self._batches, seconds))
        else:
            times.first_window = (self._batches, seconds)
        spent, steps = sum(seconds for _, seconds in times.windows), len(times.windows)
        if steps >= MAX_STEPS or (steps >= MIN_STEPS and spent >= STEP_SECONDS):
            trainer.should_stop = True
        self._begin_step()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end_epoch()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._begin_evaluation(pl_module)
        self.stages[-1].validation.num_batches = _total(trainer.num_val_batches)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not batch_idx:
            self._batch_start = _now()  # a later batch begins when the one before ends, so its loading counts

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            self._count(self.stages[-1].validation)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._inside += self._end_evaluation(self.stages[-1].validation)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin_evaluation(pl_module)
        self.stages[-1].test.num_batches = _total(trainer.num_test_batches)

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not batch_idx:
            self._batch_start = _now()

    def on_test_batch_end(self, *_: Any) -> None:
        self._count(self.stages[-1].test)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end_evaluation(self.stages[-1].test)

    def _begin_step(self) -> None:
        self._mark, self._batches, self._inside = _now(), 0, 0.0

    def _end_epoch(self) -> None:
        """Adds the time since the last step of an epoch, if there was one."""
        times = self.stages[-1]
        if times.epochs:
            times.epoch_end_seconds += _now() - self._mark - self._inside

    def _begin_evaluation(self, module: pl.LightningModule) -> None:
        if not self.stages:  # a run that only tests
            self.stages.append(StageTimes(scheduled_module(module).stage.name, 0, 1, None))
        self._evaluation_start = _now()

    def _count(self, times: EvaluationTimes) -> None:
        """Counts a batch, and ends the evaluation if enough of them are measured."""
        now = _now()
        times.measured += 1
        times.batch_seconds += now - self._batch_start
        self._batch_start = now
        is_known = times.measured >= MIN_BATCHES and times.batch_seconds >= EVALUATION_SECONDS
        if is_known and times.measured < times.num_batches:
            raise StopIteration  # Lightning's loop ends as if there were no further batch

    def _end_evaluation(self, times: EvaluationTimes) -> float:
        """Adds the time of an evaluation, and returns it."""
        seconds = _now() - self._evaluation_start
        times.calls += 1
        times.seconds += seconds
        return seconds


def _now() -> float:
    """Returns a time in seconds, when the device has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _total(num_batches: Any) -> int:
    """Returns the batches of all loaders of an evaluation."""
    return sum(num_batches) if isinstance(num_batches, Sequence) else int(num_batches)
