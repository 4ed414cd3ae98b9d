"""The base of every model that is trained here: its optimizer and its schedule come from the train config."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl

from partoken.errors import UserError
from partoken.schedule import (
    Plan,
    PlanLR,
    ScheduleError,
    explain_change,
    peak_rate,
    plan_from_config,
)
from partoken.schedule.stages import StagedPlan, read_fingerprint
from partoken.training.optim import build_optimizer, build_scheduler
from partoken.training.stages import read_stages

__all__ = ["ScheduledModule", "trainer_counts"]

log = logging.getLogger(__name__)

CHECKPOINT_KEY = "partoken_schedule"
ON_CHANGE = ("error", "keep", "extend")


class ScheduledModule(pl.LightningModule):
    """Creates a LightningModule that follows the plan of its train config.

    The plan is made when the optimizer is, from the counts of the trainer. It moves only when the optimizer has really
    stepped, and travels in the checkpoint with the number of steps, so that a resume can tell whether the requested
    plan is the one that the run began with (`train.on_schedule_change`).

    Arguments:
        train: the train config, plain.
    """

    unit = "batches"  # what `batch_units` counts; speed is reported in it
    epoch_line: tuple[str, ...] = ("train_loss", "val_loss")  # metrics on the line that is logged each epoch

    def __init__(self, train: Mapping[str, Any]) -> None:
        super().__init__()
        self.train_settings = dict(train)
        self.plan: Plan | StagedPlan | None = (
            None  # None until the optimizer is made, and where train.scheduler is another's
        )
        self.optimizer_steps = 0
        self.before_optimizer_step: Callable[[], None] = lambda: None
        self._resumed: dict[str, Any] | None = None

    def batch_units(self, batch: Any) -> int:
        """Counts what a batch holds, in `unit`."""
        return 1

    def summary(self) -> dict[str, Any]:
        """Returns what the test found; `test` holds its scores."""
        return {"test": {k.removeprefix("test_"): float(v) for k, v in self.trainer.callback_metrics.items()}}

    def configure_optimizers(self) -> dict[str, Any]:
        """Returns the optimizer and a `LambdaLR` over the plan, or the scheduler that `train.scheduler` names.

        Raises:
            UserError: a schedule that cannot be, or one that is not the resumed checkpoint's.
        """
        train = self.train_settings
        try:
            if train["scheduler"] is not None:
                optimizer = self._build_optimizer(self._peak_rate(train))
                return {"optimizer": optimizer, "lr_scheduler": build_scheduler(train, optimizer)}
            self.plan = self._choose_plan(self._request_plan())
            log.info("schedule: %s", self.plan.headline)
            for advice in self.plan.advice():
                log.info("schedule, advice: %s", advice)
            optimizer = self._build_optimizer(self.plan.lr)
            scheduler = PlanLR(optimizer, self.plan, extend=train["on_schedule_change"] == "extend")
        except ScheduleError as error:
            raise UserError(str(error)) from error
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": self.plan.interval, "frequency": 1},
        }

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advances the scheduler, unless the optimizer has not stepped, as when a gradient scaler met an infinity."""
        if self.plan is not None and self.plan.interval == "step" and scheduler.last_epoch >= self.optimizer_steps:
            return
        super().lr_scheduler_step(scheduler, metric)

    def planned_rate(self, step: int, epoch: int, group: Mapping[str, Any]) -> float:
        """Returns the rate that the plan has for a parameter group at an optimizer step of an epoch, both from 0."""
        assert self.plan is not None
        return self.plan.rate(self.plan.time(step, epoch), group["initial_lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        plan = None if self.plan is None else self.plan.fingerprint()
        checkpoint[CHECKPOINT_KEY] = {"step": self.optimizer_steps, "plan": plan}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_weights(checkpoint)
        saved = checkpoint.get(CHECKPOINT_KEY, {"step": 0, "plan": None})
        epochs = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_progress", {}).get("current", {})
        self._resumed = {**saved, "epoch": epochs.get("processed", 0)}
        self.optimizer_steps = saved["step"]

    def _build_optimizer(self, lr: float) -> Any:
        optimizer = build_optimizer(self, self.train_settings, lr)
        optimizer.register_step_pre_hook(lambda *_: self.before_optimizer_step())
        optimizer.register_step_post_hook(lambda *_: self._count_step())
        return optimizer

    def _count_step(self) -> None:
        self.optimizer_steps += 1

    def _peak_rate(self, train: Mapping[str, Any]) -> float:
        """Returns the peak rate for the batch that really makes a step, on all devices."""
        batches = self.trainer.accumulate_grad_batches * self.trainer.world_size
        lr, scaling = peak_rate(train, train["batch_size"] * batches)
        if scaling:
            log.info("%s", scaling)
        return lr

    def _request_plan(self) -> Plan | StagedPlan:
        """Returns the plan of the train config for the length that the trainer will take."""
        counts, plans = trainer_counts(self.trainer), []
        stages = read_stages(self.train_settings)
        for stage in stages:
            if len(stages) > 1:
                per_epoch = counts["steps_per_epoch"]
                counts = {"total_epochs": stage["epochs"], "total_steps": per_epoch and per_epoch * stage["epochs"]}
                counts["steps_per_epoch"] = per_epoch
            plans.append(plan_from_config({**stage, "lr": self._peak_rate(stage)}, **counts))
        return plans[0] if len(plans) == 1 else StagedPlan(tuple(plans))

    def _choose_plan(self, requested: Plan | StagedPlan) -> Plan | StagedPlan:
        """Returns the plan to follow: the requested one, unless the resumed checkpoint has another that is kept."""
        how = self.train_settings["on_schedule_change"]
        if how not in ON_CHANGE:
            raise UserError(f"train.on_schedule_change={how}: choose {', '.join(ON_CHANGE)}")
        if self._resumed is None or self._resumed["plan"] is None:
            return requested
        saved = read_fingerprint(self._resumed["plan"])
        change = explain_change(saved, requested, step=self._resumed["step"], epoch=self._resumed["epoch"])
        if not change:
            return requested
        if how == "error":
            raise UserError(
                f"train.resume_from={self.train_settings['resume_from']} was made with another schedule:\n{change}\n"
                "ask for the saved plan, or decide with train.on_schedule_change=keep (go on with the saved plan) "
                "or =extend (follow the requested plan from here)"
            )
        log.warning("train.on_schedule_change=%s:\n%s", how, change)
        return saved if how == "keep" else requested

    def _check_weights(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuses the checkpoint of another model, naming the settings in which they differ."""
        own = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        saved = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
        if own == saved:
            return
        theirs, ours = checkpoint.get("hyper_parameters", {}), dict(self.hparams)
        settings = [f"{k}: {theirs.get(k)} there, {ours.get(k)} here" for k in ours if theirs.get(k) != ours.get(k)]
        differing = [k for k in {**own, **saved} if own.get(k) != saved.get(k)]
        told = settings[:5] or [f"{k}: {saved.get(k)} there, {own.get(k)} here" for k in differing[:3]]
        raise UserError(
            f"the checkpoint is of another model, {len(differing)} of its tensors do not fit: " + "; ".join(told)
        )


def trainer_counts(trainer: pl.Trainer) -> dict[str, int | None]:
    """Returns what the trainer will take: `total_epochs`, `total_steps` (optimizer steps), `steps_per_epoch`.

    Lightning steps the last, partial window of an accumulation as well, so an epoch has ceil(batches / accumulate)
    optimizer steps. What is unknown, as with an iterable data set, is None.
    """
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()  # as the estimate does, unless max_epochs is -1
    steps = trainer.estimated_stepping_batches
    total_steps = None if steps in (-1, math.inf) else int(steps)
    batches = trainer.num_training_batches
    steps_per_epoch = None if batches == math.inf else math.ceil(batches / trainer.accumulate_grad_batches)
    if total_steps is not None and steps_per_epoch:
        total_epochs = math.ceil(total_steps / steps_per_epoch)  # max_steps may end the run before max_epochs
    else:
        total_epochs = None if trainer.max_epochs == -1 else trainer.max_epochs
    return {"total_epochs": total_epochs, "total_steps": total_steps, "steps_per_epoch": steps_per_epoch}
