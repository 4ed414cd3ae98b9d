"""What is recorded and checked while training."""

import csv
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from partoken.system.tables import write_table
from partoken.training.module import ScheduledModule

__all__ = ["EpochTable", "RateRecorder"]

log = logging.getLogger(__name__)


class RateRecorder(pl.Callback):
    """Writes `lr.csv` and holds every applied rate against the plan, at every step that the optimizer takes.

    A row is one optimizer step and parameter group: `step,epoch,group,lr`, steps and epochs counted from 0, the rate
    as the optimizer used it. A step that a gradient scaler skips has no row. When the run goes on from a checkpoint in
    a folder that has rows already, those of steps that will be taken again are dropped first.

    Arguments:
        path: where the table goes.
    """

    FIELDS = ("step", "epoch", "group", "lr")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps_recorded = 0
        self.largest_deviation = 0.0
        self.first_deviation: str | None = None
        self._file: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: ScheduledModule) -> None:
        rows = []
        if self.path.exists():
            with open(self.path, newline="") as file:
                rows = [r for r in csv.DictReader(file) if int(r["step"]) < pl_module.optimizer_steps]
        # Every device checks its rates; the first one writes.
        self._file = open(self.path if trainer.is_global_zero else os.devnull, "w", newline="")
        writer = csv.DictWriter(self._file, self.FIELDS)
        writer.writeheader()
        writer.writerows(rows)
        pl_module.before_optimizer_step = lambda: self._record(trainer, pl_module, csv.writer(self._file))

    def _record(self, trainer: pl.Trainer, module: ScheduledModule, writer: Any) -> None:
        step, epoch = module.optimizer_steps, trainer.current_epoch
        for number, group in enumerate(trainer.optimizers[0].param_groups):
            applied = float(group["lr"])
            writer.writerow((step, epoch, number, repr(applied)))
            if module.plan is not None:
                planned = module.planned_rate(step, epoch, group)
                deviation = abs(applied - planned)
                if deviation > 1e-9 * max(group["initial_lr"], planned) and self.first_deviation is None:
                    self.first_deviation = (
                        f"step {step} (epoch {epoch}), group {number}: planned {planned:.6e}, applied {applied:.6e}"
                    )
                    log.error("the applied learning rate left the plan at %s", self.first_deviation)
                self.largest_deviation = max(self.largest_deviation, deviation)
        self.steps_recorded += 1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._file.flush()

    def summary(self, trainer: pl.Trainer, module: ScheduledModule) -> dict[str, Any]:
        """Returns what a finished fit says of its schedule: plan, steps, verdict, and what departed from the plan.

        A run that was stopped on purpose (early stopping, a time limit, a signal) may be shorter than its plan; one
        that ran to its end may not. Steps that a gradient scaler skipped count as taken by the trainer.
        """
        taken, skipped = module.optimizer_steps, trainer.global_step - module.optimizer_steps
        facts: dict[str, Any] = {"steps": taken, "skipped_steps": skipped}
        if module.plan is None:
            return {**facts, "verdict": f"{module.train_settings['scheduler']['_target_']}, recorded", "errors": []}
        planned, ended_early = module.plan.total_steps, trainer.should_stop or trainer.interrupted
        errors = []
        if self.first_deviation is not None:
            errors.append(f"the applied rate left the plan, first at {self.first_deviation}")
        if planned is not None and taken + skipped != planned and not ended_early:
            errors.append(f"{planned} optimizer steps were planned, {taken + skipped} were taken")
        verdict = f"planned = applied at {self.steps_recorded} steps, largest deviation {self.largest_deviation:.1e}"
        if skipped:
            verdict += f"; the gradient scaler skipped {skipped} more"
        if ended_early:
            verdict += f"; stopped early, after {taken} of {planned} steps"
        return {
            "plan": module.plan.fingerprint(),
            **facts,
            "planned_steps": planned,
            "largest_deviation": self.largest_deviation,
            "verdict": "; ".join(errors) or verdict,
            "errors": errors,
        }

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class EpochTable(pl.Callback):
    """Writes `metrics.csv`, one row an epoch with every logged metric, and logs the same as a line.

    Also measures the speed of training in the units that the module counts (`batch_units`), validation left out.

    Arguments:
        path: where the table goes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.units = 0
        self.seconds = 0.0
        self._since: float | None = None
        self._epoch_start = (0, 0.0)
        self._validated = False

    @property
    def units_per_second(self) -> float:
        """Units trained on a second, over the whole run."""
        return self.units / self.seconds if self.seconds else 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.path.exists():
            with open(self.path, newline="") as file:
                self.rows = [r for r in csv.DictReader(file) if int(r["epoch"]) < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._epoch_start = (self.units, self.seconds)
        self._validated = False
        self._resume_clock()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: ScheduledModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.units += pl_module.batch_units(batch)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_clock()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True
        if trainer.training:
            self._resume_clock()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: ScheduledModule) -> None:
        self._stop_clock()
        units, seconds = self.units - self._epoch_start[0], self.seconds - self._epoch_start[1]
        speed = units / seconds if seconds else 0.0
        # Lightning keeps the values of an earlier validation.
        metrics = {
            k: float(v) for k, v in sorted(trainer.callback_metrics.items()) if self._validated or k[:4] != "val_"
        }
        for name, value in metrics.items():
            if not math.isfinite(value):
                log.warning(
                    "%s is %s in epoch %d: lower train.lr or warm up longer", name, value, trainer.current_epoch + 1
                )
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append(
            {
                "epoch": trainer.current_epoch,
                "step": pl_module.optimizer_steps,
                "lr": rate,
                **metrics,
                f"{pl_module.unit}_per_second": round(speed, 1),
                "seconds": round(seconds, 2),
            }
        )
        if not trainer.is_global_zero:
            return
        self._write()
        shown = "  ".join(f"{k} {v:.3f}" for k, v in metrics.items() if k in pl_module.epoch_line)
        log.info(
            "epoch %d/%s  lr %.2e  %s  %s %s/s",
            trainer.current_epoch + 1,
            trainer.max_epochs if trainer.max_epochs != -1 else "?",
            rate,
            shown,
            f"{speed:,.0f}",
            pl_module.unit,
        )

    def _resume_clock(self) -> None:
        self._since = time.perf_counter()

    def _stop_clock(self) -> None:
        if self._since is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - self._since
            self._since = None

    def _write(self) -> None:
        fields = list(dict.fromkeys(field for row in self.rows for field in row))
        write_table(self.path, fields, self.rows)
