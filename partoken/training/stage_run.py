"""Carries out one stage of a run: model, trainer, fit, test, and its part of the summary."""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from partoken.errors import UserError
from partoken.resume_keys import AUTO, CheckpointSettings
from partoken.schedule import ScheduleError
from partoken.system.checkpoint import read_checkpoint
from partoken.system.instantiation import instantiate
from partoken.system.run_status import is_interrupt
from partoken.training.callbacks import build_callbacks
from partoken.training.continuing import SetAside, StageRecord, Start, begin_stage, finish_stage, stage_folder
from partoken.training.domain import DataModule
from partoken.training.end_at_step import EndAtStep
from partoken.training.epoch_state import EpochState
from partoken.training.interrupt import gentle_signals, requeue
from partoken.training.loggers import RunLoggers
from partoken.training.memory import LastBatch, explain_out_of_memory
from partoken.training.module import ScheduledModule
from partoken.training.overfit import repeat_batches
from partoken.training.profile import write_profile
from partoken.training.recorders import EpochTable, RateRecorder
from partoken.training.resume import ExactResume
from partoken.training.settings import TrainSettings
from partoken.training.skipping import NonFiniteSkipper
from partoken.training.stage_callback import StageCallback
from partoken.training.stages import Position, TrainStage, named, weights_source
from partoken.training.summary import finite
from partoken.training.trainer import build_trainer, checkpoint_callbacks, is_main_process, stopping_callbacks

__all__ = ["StageRun"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageRun:
    """A stage with everything that it needs from its run."""

    groups: Mapping[str, Any]
    """The groups of the configuration, plain."""
    train: TrainSettings
    stages: Sequence[TrainStage[TrainSettings]]
    """Of the run."""
    position: Position
    """Of this stage."""
    num_epochs: int | None
    """Epochs of this stage; None: unknown."""
    settings: Mapping[str, Mapping[str, Any]]
    """The settings of every stage, by name, for the checkpoints; see `settings_of_stages`."""
    folder: Path
    """The run folder."""
    start: Start
    """Of the run."""
    callbacks: Sequence[pl.Callback] = ()
    """Added to those of the stage."""

    @property
    def stage(self) -> TrainStage[TrainSettings]:
        return self.stages[self.position.number]

    @property
    def resume_from(self) -> str | None:
        """Checkpoint within this stage; None: the stage begins."""
        return self.start.checkpoint if self.start.number == self.position.number else None

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints."""
        return self.folder / "checkpoints"

    def carry_out(
        self, data: DataModule, loggers: RunLoggers, before: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Trains and tests the stage.

        Arguments:
            data: of this stage, read.
            loggers: of the run.
            before: the part of the summary of the stage before; None for the first stage.

        Returns:
            The stage's part of `summary.json`, and the task's own part of the run's summary.

        Raises:
            UserError: the settings, the data or the checkpoint cannot be used.
        """
        started = time.perf_counter()
        data.first_epoch = self.position.first_epoch
        module = self._build_module(data)
        rates = RateRecorder(self.folder / "lr.csv", self.position)
        epochs = EpochTable(self.folder / "metrics.csv", self.stage.name, self.position)
        within_epochs = CheckpointSettings.read(self.groups.get("checkpoint", {}))
        best, last = checkpoint_callbacks(self.folder, self.stage.settings, within_epochs)
        acts = StageCallback(self.stage, self.num_epochs, before["loss_weights"] if before else None)
        record = StageRecord(self.stage.name, self.settings)
        stopping = stopping_callbacks(self.stage.settings)
        callbacks: list[pl.Callback] = [rates, epochs, EpochState(), acts, record, SetAside(self.folder)]
        if self.train.on_nonfinite == "skip":
            module.skipper = NonFiniteSkipper()
            callbacks.append(module.skipper)
        size = LastBatch()
        callbacks += [size, *self.callbacks, *self._own_callbacks(), *stopping]
        # The random states are restored last, after everything else that happens when the training starts.
        callbacks += [ExactResume(), best, last]
        if self.train.forks:
            callbacks.insert(0, EndAtStep())
        own_loggers = loggers.for_stage(self.position)
        trainer = build_trainer(self.groups["trainer"], module, self.folder, callbacks, own_loggers)
        self._announce()
        batches = repeat_batches(data, self.groups["trainer"])
        data_group = self.stage.groups(self.groups)["data"]
        with self._ended_by_signals(last), explain_out_of_memory(size, data_group, self.train.batch_size):
            self._fit(trainer, module, batches)
            if not rates.has_trained:
                self._check_unfinished(trainer)
            schedule = rates.summary(trainer, module)
            # Before the test, which restores the counts of the best checkpoint.
            skipped = {} if module.skipper is None else {"skipped_batches": module.skipper.batches}
            tested = best.best_model_path or last.best_model_path
            of_task = self._test(trainer, module, batches, tested)
        write_profile(trainer, time.perf_counter() - started, self.folder, self.stage.name)
        part = {
            **self._facts(module, of_task, tested),
            "monitor": {"name": self.stage.settings.monitor, "best": best.best_model_score},
            "schedule": schedule,
            f"{module.unit}_per_second": epochs.units_per_second,
            "seconds": time.perf_counter() - started,
            "epochs": trainer.current_epoch,
            **skipped,
        }
        part = finite(part)
        if trainer.is_global_zero:
            own = stage_folder(self.checkpoints, self.stage.name)
            own.mkdir(exist_ok=True)
            self.stage.finish(module, data, own, Path(tested))
            finish_stage(self.checkpoints, self.stage.name, Path(tested), part)
        trainer.strategy.barrier("stage")
        return part, dict(of_task)

    def evaluate(self, data: DataModule, loggers: RunLoggers) -> tuple[dict[str, Any], dict[str, Any]]:
        """Validates and tests the checkpoint with which the run starts, and trains nothing.

        Arguments:
            data: of this stage, read.
            loggers: of the run.

        Returns:
            As `carry_out`; the monitor has the value of the validation.

        Raises:
            UserError: the settings, the data or the checkpoint cannot be used.
        """
        started, tested = time.perf_counter(), self.resume_from
        assert tested is not None, "`check_phases` asks for a checkpoint"
        module = self._build_module(data)
        checkpoint = read_checkpoint(tested)
        try:
            module.check_weights(checkpoint)  # rejects the checkpoint of another model
        except UserError as error:
            raise UserError(f"train.resume_from={tested}: {error}") from error
        module.load_state_dict(checkpoint["state_dict"])
        size = LastBatch()
        callbacks = [size, *self.callbacks, *self._own_callbacks()]
        own_loggers = loggers.for_stage(self.position)
        trainer = build_trainer(self.groups["trainer"], module, self.folder, callbacks, own_loggers)
        batches = repeat_batches(data, self.groups["trainer"])
        try:
            with explain_out_of_memory(size, self.stage.groups(self.groups)["data"], self.train.batch_size):
                trainer.validate(module, datamodule=batches, verbose=False)
                monitored = trainer.callback_metrics.get(self.stage.settings.monitor)
                trainer.test(module, datamodule=batches, verbose=False)
        except MisconfigurationException as error:
            raise UserError(f"trainer: {error}") from error
        of_task = module.summary()
        write_profile(trainer, time.perf_counter() - started, self.folder, self.stage.name)
        part = {
            **self._facts(module, of_task, tested),
            "trained": False,
            "monitor": {"name": self.stage.settings.monitor, "best": monitored},
            "schedule": {"steps": 0, "skipped_steps": 0, "verdict": "nothing was trained (train=false)", "errors": []},
            "seconds": time.perf_counter() - started,
            "epochs": checkpoint["epoch"] + 1,
        }
        return finite(part), dict(of_task)

    def _own_callbacks(self) -> list[pl.Callback]:
        """Creates the callbacks of the group `callbacks`."""
        return build_callbacks(self.groups.get("callbacks", {}))

    def _test(
        self, trainer: pl.Trainer, module: ScheduledModule, data: pl.LightningDataModule, checkpoint: str
    ) -> Mapping[str, Any]:
        """Tests a checkpoint and returns the task's part of the summary; with `test=false` only loads the weights."""
        if self.groups.get("test", True):
            trainer.test(module, datamodule=data, ckpt_path=checkpoint, verbose=False, weights_only=True)
            return module.summary()
        module.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
        return {"test": {}, "tested": False}

    def _facts(self, module: ScheduledModule, of_task: Mapping[str, Any], tested: str) -> dict[str, Any]:
        """Returns the facts about a stage that do not depend on its training."""
        return {
            "name": self.stage.name,
            "test": of_task["test"],
            "epoch_line": list(module.epoch_line),
            "loss_weights": dict(module.loss_weights),
            "num_parameters": sum(parameter.numel() for parameter in module.parameters()),
            "best_checkpoint": str(tested),
            "predict_module": module.predict_module,
            "predict_options": list(module.predict_options),
            "has_page": module.has_page,
            "best_epoch": self.position.first_epoch + read_checkpoint(tested)["epoch"],
            "first_epoch": self.position.first_epoch,
        }

    def _build_module(self, data: DataModule) -> ScheduledModule:
        """Creates the task with the weights with which the stage starts."""
        group = self.stage.groups(self.groups)["model"]
        with named(self.stage):
            module: ScheduledModule = instantiate(group, "model", train=self.train.plain(), data=data.settings())
            module.position = self.position
            source = None if self.resume_from else weights_source(self.stages, self.position.number)
            if source is not None:
                path = source.path(self.checkpoints)
                try:
                    self.stage.load_weights(module, read_checkpoint(path))
                except UserError as error:
                    raise UserError(f"{self.stage.path}.weights_from: {path}: {error}") from error
            if not self.resume_from:
                module.begin(None if source is None else str(source))
        return module

    def _announce(self) -> None:
        """Logs which stage begins, with which weights, and what stays frozen."""
        stage, number = self.stage, self.position.number
        if not stage.name:
            return
        source = weights_source(self.stages, number)
        notes = [f"stage {stage.name}, {number + 1} of {self.position.num_stages}"]
        notes += [f"weights of {source}"] if source and not self.resume_from else []
        notes += [f"continues from {self.resume_from}"] if self.resume_from else []
        notes += [f"frozen: {', '.join(stage.freeze)}"] if stage.freeze else []
        if stage.freeze_last:
            last = "epoch" if stage.freeze_last_epochs == 1 else f"{stage.freeze_last_epochs} epochs"
            notes.append(f"in the last {last} also frozen: {', '.join(stage.freeze_last)}")
        log.info("%s", "; ".join(notes))

    @contextlib.contextmanager
    def _ended_by_signals(self, last: ModelCheckpoint) -> Iterator[None]:
        """Exits with the status of a shell if a signal ends the block, and says how to go on."""
        with gentle_signals() as received:
            try:
                yield
            except BaseException as error:
                if not (received or is_interrupt(error) or isinstance(error, SIGTERMException)):
                    raise
                number = received[-1] if received else signal.SIGTERM
                if isinstance(error, KeyboardInterrupt) or is_interrupt(error):
                    number = signal.SIGINT
                log.warning("stopped by %s; %s", number.name, self._how_to_go_on(last.best_model_path))
                if number == signal.SIGUSR1 and is_main_process():
                    self._requeue()
                # The shell's convention for signals; with Lightning's 0 a job scheduler believes that it is done.
                sys.exit(128 + (number if number == signal.SIGINT else signal.SIGTERM))

    def _how_to_go_on(self, checkpoint: str) -> str:
        if self.groups.get("resume") == AUTO:
            return "the same command goes on from here" if checkpoint else "the same command starts it again"
        if not checkpoint:
            return "no checkpoint was written yet"
        return f"go on with the same keys and resume=latest hydra.run.dir={self.folder}"

    def _requeue(self) -> None:
        """Lets SLURM start the run again, if it would go on by itself."""
        if self.groups.get("resume") == AUTO:
            requeue(os.environ)
        elif "SLURM_JOB_ID" in os.environ:
            log.warning("the job is not put back into SLURM's queue: it goes on by itself only with resume=auto")

    def _fit(self, trainer: pl.Trainer, module: ScheduledModule, data: pl.LightningDataModule) -> None:
        if self.resume_from is None and trainer.is_global_zero:
            begin_stage(self.checkpoints, self.stage.name, is_first=self.position.number == 0)
        self._fit_explained(trainer, module, data)

    def _fit_explained(self, trainer: pl.Trainer, module: ScheduledModule, data: pl.LightningDataModule) -> None:
        """Trains, and turns errors of Lightning and torch that have a cause in the settings into those of the user."""
        try:
            trainer.fit(module, datamodule=data, ckpt_path=self.resume_from, weights_only=True)
        except ScheduleError as error:
            # Once the optimizers exist, only the saved states can be wrong.
            source = f"train.resume_from={self.resume_from}: " if module.scheduled else ""
            raise UserError(f"{source}{error}") from error
        except MisconfigurationException as error:
            raise UserError(f"trainer: {error}") from error
        except RuntimeError as error:
            if not self.groups["trainer"].get("detect_anomaly") or "returned nan values" not in str(error):
                raise
            raise UserError(
                f"trainer.detect_anomaly: {error} The warning above shows the line of the forward pass; "
                "lower train.lr, or repair the operation"
            ) from error

    def _check_unfinished(self, trainer: pl.Trainer) -> None:
        """Rejects the checkpoint of a run that has already trained, tested and written its summary."""
        source = self.start.source
        if source is not None and (source.parent / "summary.json").is_file():
            raise UserError(
                f"train.resume_from={self.resume_from}: nothing is left to train after {trainer.current_epoch} epochs "
                f"and {trainer.global_step} steps; raise {self.stage.settings.key('epochs')} or trainer.max_steps"
            )
