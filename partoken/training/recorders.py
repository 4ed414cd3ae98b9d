"""Tables that are written while training: every learning rate, and the metrics of every epoch."""

import contextlib
import csv
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.system.distributed import total
from partoken.system.files import explain_full_disk
from partoken.system.tables import read_table, write_table
from partoken.training.groups import DEFAULT
from partoken.training.loggers import StageLogger
from partoken.training.module import ScheduledModule, scheduled_module
from partoken.training.optim import ScheduledOptimizer
from partoken.training.stages import ONLY_STAGE, Position

__all__ = ["EpochTable", "RateRecorder", "whole_run"]

log = logging.getLogger(__name__)

TOLERANCE = 1e-9
"""Deviation of an applied rate from the plan that is not an error, as a fraction of the larger of peak and plan."""


class RateRecorder(pl.Callback):
    """Writes `lr.csv` and compares every applied rate with the plan, at every step that an optimizer really takes.

    A row is one optimizer step and one parameter group: `step,epoch,group,lr`. Steps and epochs count from 0, and the
    rate is the one that the optimizer used. With several optimizers a first column `optimizer` names each. With
    `train.groups` a column `name` after `group` says which of them it is, and `default` for all others. A step that a
    gradient scaler skips has no row. Each row is handed to the system at once, so a kill loses none. If a resumed run
    continues in a folder with rows, the rows of steps that will be taken again are dropped first. The comparison with
    the plan goes on from the checkpoint too, so that it covers the whole run.

    The loggers of the run receive the rates of every step too, as `lr/GROUP` or `lr/OPTIMIZER/GROUP`, with the names of
    `train.groups` where there are some: those of
    `trainer.log_every_n_steps` steps at a time, because a logger may need milliseconds for each message.

    Arguments:
        path: of the table, to which every stage of a run adds its rows.
        position: of the stage in its run.
    """

    FIELDS = ("step", "epoch", "group", "lr")

    def __init__(self, path: Path, position: Position = ONLY_STAGE) -> None:
        self.path = path
        self.position = position
        self.steps_recorded: dict[str, int] = {}
        self.deviations: dict[str, float] = {}
        self.first_deviation: dict[str, str] = {}
        self._taken_before = 0
        self._file: Any = None
        self._has_names = self._has_groups = False
        self._to_log: list[tuple[int, dict[str, float]]] = []

    @property
    def largest_deviation(self) -> float:
        """Largest difference between an applied and a planned rate, over all optimizers."""
        return max(self.deviations.values(), default=0.0)

    @property
    def has_trained(self) -> bool:
        """Whether this process has taken a step."""
        return sum(self.steps_recorded.values()) > self._taken_before

    def state_dict(self) -> dict[str, Any]:
        """Returns what was compared so far, for the checkpoint."""
        names = ("steps_recorded", "deviations", "first_deviation")
        return {name: dict(getattr(self, name)) for name in names}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._log_rates(trainer)  # a run that continues from here logs those of later steps only

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the comparison of a resumed run; a checkpoint of an older version has none."""
        for name, value in state_dict.items():
            setattr(self, name, dict(value))
        self._taken_before = sum(self.steps_recorded.values())

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = scheduled_module(pl_module)
        first = self.position.first_step
        steps = {name: scheduled.steps for name, scheduled in module.scheduled.items()}
        kept = [row for row in self._read_rows() if int(row["step"]) < first + steps.get(row.get("optimizer", ""), 0)]
        has_names = list(module.scheduled) != [""] or any("optimizer" in row for row in kept)
        has_groups = any(item.has_named_groups for item in module.scheduled.values()) or any(
            "name" in row for row in kept
        )
        if has_groups:
            kept = [{"name": DEFAULT, **row} for row in kept]
        step, epoch, group, lr = self.FIELDS
        fields = (*["optimizer"] * has_names, step, epoch, group, *["name"] * has_groups, lr)
        # Every device checks its rates; the main process writes.
        if trainer.is_global_zero:
            write_table(self.path, fields, kept)
        # Buffered by line: each row survives a kill of this process.
        self._file = open(self.path if trainer.is_global_zero else os.devnull, "a", newline="", buffering=1)
        table = csv.writer(self._file)
        self._has_names, self._has_groups = has_names, has_groups
        module.before_optimizer_step = lambda scheduled: self._record(trainer, scheduled, table)

    def _read_rows(self) -> list[dict[str, str]]:
        """Returns the whole rows of the table; a full disk may leave a part of the last one."""
        rows = read_table(self.path) if self.path.exists() else []
        rows = [row for row in rows if None not in row.values() and None not in row]
        if not all(row.get("step", "").isdecimal() for row in rows):
            raise UserError(f"{self.path}: is not a table of learning rates any more; delete it, and resume again")
        return rows

    def _record(self, trainer: pl.Trainer, scheduled: ScheduledOptimizer, table: Any) -> None:
        epoch, name, step = trainer.current_epoch, scheduled.name, scheduled.steps
        for number, group in enumerate(scheduled.optimizer.param_groups):
            applied = float(group["lr"])
            run_step, run_epoch = self.position.first_step + step, self.position.first_epoch + epoch
            with explain_full_disk(self.path):
                named = [scheduled.groups[number].name] * self._has_groups
                table.writerow((*[name] * self._has_names, run_step, run_epoch, number, *named, repr(applied)))
            planned = scheduled.planned_rate(step, epoch, number)
            if planned is None:
                continue
            deviation = abs(applied - planned)
            self.deviations[name] = max(self.deviations.get(name, 0.0), deviation)
            if deviation > TOLERANCE * max(group["initial_lr"], planned) and name not in self.first_deviation:
                of_groups = f" ({scheduled.groups[number].name})" if self._has_groups else ""
                place = f"step {run_step} (epoch {run_epoch}), group {number}{of_groups}"
                self.first_deviation[name] = f"{place}: planned {planned:.6e}, applied {applied:.6e}"
                log.error("the applied learning rate left the plan at %s", self.first_deviation[name])
        self.steps_recorded[name] = self.steps_recorded.get(name, 0) + 1
        interval: int = getattr(trainer, "log_every_n_steps", 0)
        if trainer.is_global_zero and interval and trainer.loggers:
            groups = scheduled.optimizer.param_groups
            prefix = f"lr/{name}" if name else "lr"
            names = [group.name if scheduled.has_named_groups else n for n, group in enumerate(scheduled.groups)]
            rates = {f"{prefix}/{own}": float(group["lr"]) for own, group in zip(names, groups, strict=True)}
            self._to_log.append((step, rates))
            if len(self._to_log) >= interval:
                self._log_rates(trainer)

    def _log_rates(self, trainer: pl.Trainer) -> None:
        rates, self._to_log = self._to_log, []
        for logger in trainer.loggers:
            assert isinstance(logger, StageLogger), "the engine gives each stage its own"
            logger.log_series(rates)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._log_rates(trainer)

    def summary(self, trainer: pl.Trainer, module: ScheduledModule) -> dict[str, Any]:
        """Returns the facts about the schedule of a finished fit: plan, steps, verdict, and deviations from the plan.

        A run that was stopped on purpose (early stopping, a time limit, a signal) may be shorter than its plan; a run
        that ended by itself may not. With several optimizers the facts of each are under `optimizers`.
        """
        taken = sum(scheduled.steps for scheduled in module.scheduled.values())
        skipped = trainer.global_step - taken
        ended_early = trainer.should_stop or trainer.interrupted
        parts = {name: self._part(item, skipped, ended_early) for name, item in module.scheduled.items()}
        if list(parts) == [""]:
            return {**parts[""], "skipped_steps": skipped}
        return {
            "optimizers": parts,
            "steps": taken,
            "skipped_steps": skipped,
            "verdict": "; ".join(f"{name}: {part['verdict']}" for name, part in parts.items()),
            "errors": [f"{name}: {error}" for name, part in parts.items() for error in part["errors"]],
        }

    def _part(self, scheduled: ScheduledOptimizer, skipped: int, ended_early: bool) -> dict[str, Any]:
        """Returns the facts about one optimizer; `skipped` counts the skipped steps of all optimizers."""
        name, taken, plan = scheduled.name, scheduled.steps, scheduled.plan
        if plan is None:
            kind = type(scheduled.scheduler)
            return {"steps": taken, "verdict": f"{kind.__module__}.{kind.__name__}, recorded", "errors": []}
        planned, deviation = plan.total_steps, self.deviations.get(name, 0.0)
        errors = []
        if name in self.first_deviation:
            errors.append(f"the applied rate left the plan, first at {self.first_deviation[name]}")
        if planned is not None and not ended_early and not 0 <= planned - taken <= skipped:
            errors.append(f"{planned} optimizer steps were planned, {taken} were taken")
        names = {group.name for group in scheduled.groups} if scheduled.has_named_groups else ()
        of_groups = f" of {len(names)} groups" if names else ""
        verdict = f"planned = applied at {self._compared(name, taken)}{of_groups}, largest deviation {deviation:.1e}"
        if skipped:
            verdict += f"; {skipped} more were skipped, with gradients that are not finite"
        if ended_early and (planned is None or taken + skipped < planned):
            verdict += f"; stopped early, after {taken} of {planned} steps"
        return {
            "plan": plan.fingerprint(),
            **({"groups": _group_plans(scheduled)} if scheduled.has_named_groups else {}),
            "steps": taken,
            "planned_steps": planned,
            "largest_deviation": deviation,
            "verdict": "; ".join(errors) or verdict,
            "errors": errors,
        }

    def _compared(self, name: str, taken: int) -> str:
        """Describes the steps that were compared; those before a checkpoint of an older version were not."""
        compared = self.steps_recorded.get(name, 0)
        if compared == taken:
            return f"{compared} steps"
        first = self.position.first_step
        return f"{compared} of {taken} steps (rows of step {first + taken - compared} to {first + taken - 1} in lr.csv)"

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._log_rates(trainer)
        self._close()  # Lightning calls no teardown after an exception

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a row that a full disk did not take; the run has ended with a message
                self._file.close()
            self._file = None


def whole_run(stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the facts about the schedule of a run from those of its stages; see `RateRecorder.summary`.

    Arguments:
        stages: `name` and `schedule` of each stage, in order.
    """
    parts: list[Mapping[str, Any]] = [stage["schedule"] for stage in stages]
    if len(parts) == 1:
        return dict(parts[0])
    optimizers = [_optimizers(part) for part in parts]
    names = dict.fromkeys(name for own in optimizers for name in own)
    plans = {name: {"plan": _plan_of_run(optimizers, name)} for name in names}
    for name, facts in plans.items():
        if groups := _groups_of_run(optimizers, name):
            facts["groups"] = groups
    steps = sum(part["steps"] for part in parts)
    planned = sum(facts["planned_steps"] for own in optimizers for facts in own.values())
    largest = max(facts["largest_deviation"] for own in optimizers for facts in own.values())
    errors = [f"stage {stage['name']}: {error}" for stage in stages for error in stage["schedule"]["errors"]]
    verdict = f"planned = applied at {steps:,} steps of {len(parts)} stages, largest deviation {largest:.1e}"
    if steps < planned:
        verdict += f"; {planned - steps:,} of {planned:,} planned steps were not taken"
    only_one = list(plans) == [""]
    return {
        **(plans[""] if only_one else {"optimizers": plans}),
        "steps": steps,
        "planned_steps": planned,
        "skipped_steps": sum(part["skipped_steps"] for part in parts),
        "largest_deviation": largest,
        "verdict": "; ".join(errors) or verdict,
        "errors": errors,
    }


def _optimizers(part: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Returns the facts about each optimizer of a stage, by name."""
    named: Mapping[str, Mapping[str, Any]] = part.get("optimizers", {"": part})
    return named


def _plan_of_run(stages: Sequence[Mapping[str, Mapping[str, Any]]], name: str) -> dict[str, Any]:
    """Returns the fingerprint of an optimizer's plan; a stage without this optimizer has the plan of its first one."""
    facts = [own.get(name, next(iter(own.values()))) for own in stages]
    return {"stages": [stage["plan"] for stage in facts]}


def _group_plans(scheduled: ScheduledOptimizer) -> dict[str, dict[str, Any]]:
    """Returns the fingerprint of the plan of each parameter group that has a name."""
    plans = {group.name: group.plan for group in scheduled.groups}
    return {name: plan.fingerprint() for name, plan in plans.items() if plan is not None}


def _groups_of_run(stages: Sequence[Mapping[str, Mapping[str, Any]]], optimizer: str) -> dict[str, Any]:
    """Returns the plans of the named groups of an optimizer; a stage without a group has the optimizer's plan."""
    facts = [own.get(optimizer, next(iter(own.values()))) for own in stages]
    names = dict.fromkeys(name for stage in facts for name in stage.get("groups", {}))
    return {name: {"stages": [stage.get("groups", {}).get(name, stage["plan"]) for stage in facts]} for name in names}


class EpochTable(pl.Callback):
    """Writes `metrics.csv`, one row per epoch with every logged metric, and logs the main metrics as a line.

    The learning rate in a row is the one of the epoch's last optimizer step.

    It also measures the speed of training on all devices, in the units that the module counts (`batch_units`), without
    validation.

    Arguments:
        path: of the table, to which every stage of a run adds its rows.
        stage: name of the stage, for its rows and lines; "" if the run has no named stages.
        position: of the stage in its run.
    """

    def __init__(self, path: Path, stage: str = "", position: Position = ONLY_STAGE) -> None:
        self.path = path
        self.stage = stage
        self.position = position
        self.rows: list[dict[str, Any]] = []
        self.units = 0
        self.seconds = 0.0
        self._since: float | None = None
        self._epoch_start = (0, 0.0)
        self._validated = False

    @property
    def units_per_second(self) -> float:
        """Units trained per second, over the whole stage."""
        return self.units / self.seconds if self.seconds else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Returns what was measured of the epoch so far, for the checkpoint."""
        if self._since is not None:
            self._stop_clock()
            self._resume_clock()
        units, seconds = self.units - self._epoch_start[0], self.seconds - self._epoch_start[1]
        return {"units": units, "seconds": seconds, "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the measurement of an epoch; one that begins starts its own."""
        self.units, self.seconds = state_dict["units"], state_dict["seconds"]
        self._validated = state_dict["validated"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._resume_clock()
        if self.path.exists():
            epoch = self.position.first_epoch + trainer.current_epoch
            self.rows = [row for row in read_table(self.path) if int(row["epoch"]) < epoch]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._epoch_start = (self.units, self.seconds)
        self._validated = False
        self._resume_clock()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.units += scheduled_module(pl_module).batch_units(batch)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_clock()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True
        if trainer.training:
            self._resume_clock()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = scheduled_module(pl_module)
        self._stop_clock()
        units, seconds = self.units - self._epoch_start[0], self.seconds - self._epoch_start[1]
        of_others = _units_of_others(trainer, module, units)
        units, self.units = units + of_others, self.units + of_others
        speed = units / seconds if seconds else 0.0
        metrics = self._metrics(trainer)
        rates = {f"lr_{name}" if name else "lr": item.last_rate for name, item in module.scheduled.items()}
        step = self.position.first_step + module.optimizer_steps
        stage = {"stage": self.stage} if self.stage else {}
        row = {"epoch": module.run_epoch, "step": step, **stage, **rates, **metrics}
        row[f"{module.unit}_per_second"] = round(speed, 1)
        row["seconds"] = round(seconds, 2)
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        write_table(self.path, list(dict.fromkeys(name for row in self.rows for name in row)), self.rows)
        number = f"{module.run_epoch + 1}/{total_epochs(trainer, self.position)}"
        scores = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items() if name in module.epoch_line)
        shown = "  ".join(f"{name} {rate:.2e}" for name, rate in rates.items())
        shown = f"{self.stage}  {shown}" if self.stage else shown
        log.info("epoch %s  %s  %s  %s %s/s", number, shown, scores, f"{speed:,.0f}", module.unit)

    def _metrics(self, trainer: pl.Trainer) -> dict[str, float]:
        """Returns the metrics of this epoch, and warns about those that are not finite."""
        metrics = {}
        for name, value in sorted(trainer.callback_metrics.items()):
            if name.startswith("val_") and not self._validated:
                continue  # Lightning keeps the values of an earlier validation
            metrics[name] = float(value)
            if not math.isfinite(metrics[name]):
                epoch = self.position.first_epoch + trainer.current_epoch + 1
                log.warning("%s is %s in epoch %d: lower train.lr or warm up longer", name, metrics[name], epoch)
        return metrics

    def _resume_clock(self) -> None:
        self._since = time.perf_counter()

    def _stop_clock(self) -> None:
        if self._since is None:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - self._since
        self._since = None


def _units_of_others(trainer: pl.Trainer, module: ScheduledModule, units: int) -> int:
    """Returns the units that the other devices have trained in the time in which this one has trained `units`."""
    if trainer.world_size == 1:
        return 0
    return int(total(torch.tensor(units, device=module.device))) - units


def total_epochs(trainer: pl.Trainer, position: Position) -> str:
    """Returns the epochs of the whole run, for a person; "?" if they are not known."""
    known = position.total_epochs or trainer.max_epochs
    return str(known) if known not in (None, -1) else "?"
