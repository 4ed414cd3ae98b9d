"""The base of every task: its optimizers and its schedule come from the train settings."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from partoken.errors import UserError, did_you_mean
from partoken.schedule import Plan, RunLength, StagedPlan, peak_rate, plan_groups, plan_run
from partoken.schedule.length import Done
from partoken.system.distributed import num_processes, total
from partoken.system.targets import find_target
from partoken.training.forking import count_in_steps, leaves_trunk
from partoken.training.groups import Part, divide
from partoken.training.optim import ScheduledOptimizer, build_scheduler, count_steps, log_groups, parameter_groups
from partoken.training.resumed_settings import choose_plan, saved_plan
from partoken.training.saved_state import SCHEDULE_KEY, SavedState
from partoken.training.settings import TrainSettings
from partoken.training.skipping import NonFiniteSkipper
from partoken.training.stages import ONLY_STAGE, TrainStage, is_under

__all__ = ["ManualSteps", "ScheduledModule", "metric_names", "run_length", "scheduled_module", "steps_window"]
__all__ += ["task_class"]

log = logging.getLogger(__name__)

PREDICT_KEY = "partoken_predict"
"""Where a checkpoint names the module that predicts with it."""


@dataclass(frozen=True)
class ManualSteps:
    """How `ScheduledModule.optimize` steps, for a task with several optimizers, which Lightning does not step."""

    accumulate: int = 1
    """Batches whose gradients make one step."""
    clip_value: float | None = None
    """`trainer.gradient_clip_val`; None or 0: gradients are not clipped."""
    clip_algorithm: str | None = None
    """`trainer.gradient_clip_algorithm`: norm or value."""


class ScheduledModule(pl.LightningModule):
    """A LightningModule that follows the plan of its train settings.

    The module is trained in one stage of a run, at its `position`. The plan of the stage is made with the optimizer,
    from the length that the trainer will take. It moves only when the optimizer has really stepped. It is saved in the
    checkpoint with the number of steps, so a resume can compare it with the requested plan
    (`train.on_schedule_change`).

    A task with several optimizers returns their modules by name from `optimizer_modules`, sets
    `automatic_optimization = False`, and calls `optimize` in its training step.

    Arguments:
        train: the `train` group of the configuration, plain.

    Raises:
        UserError: a setting that cannot be used.
    """

    predict_module: str | None = None
    """Name of the module whose function `predict_files(checkpoint, paths, out, device, **options)` predicts with a
    checkpoint of this task and yields lines for the user. None: `partoken predict` cannot use the task."""

    predict_options: tuple[str, ...] = ()
    """Further words of the command that predicts with a checkpoint of this task, such as "--name FILE"."""

    has_page: bool = False
    """Whether `partoken report` writes a page about a run of this task."""

    decides_no_tensor: tuple[str, ...] = ()
    """Keys of `model` that are not named when weights do not fit, because they change no tensor."""

    read_at_start: tuple[str, ...] = ()
    """Keys of `model` that only the beginning of a training reads, so that a resumed one cannot change them."""

    unit = "batches"
    epoch_line: tuple[str, ...] = ("train_loss", "val_loss")
    metrics: tuple[str, ...] = ()
    """All metrics that the task may log, by which `train.monitor` and `sweep.metric` are checked before training; ():
    they are not checked."""

    def __init__(self, train: Mapping[str, Any]) -> None:
        super().__init__()
        self.train_settings = TrainSettings.read(train)
        self.position = ONLY_STAGE
        self.loss_weights: dict[str, float] = {}
        self.scheduled: dict[str, ScheduledOptimizer] = {}
        self.manual_steps = ManualSteps()
        self.before_optimizer_step: Callable[[ScheduledOptimizer], None] = lambda scheduled: None
        self.skipper: NonFiniteSkipper | None = None
        self._resumed: SavedState | None = None

    @classmethod
    def outline(cls, *, train: Mapping[str, Any], **model: Any) -> Self | None:
        """Creates the task without data and without memory for its weights, to check settings against its parts.

        A task that overrides this method has its settings checked before the data is read.

        Arguments:
            train: the `train` group of the configuration, plain.
            model: the keys of the `model` group.

        Returns:
            The task with parameters on the device "meta"; None: the task cannot be created without data.

        Raises:
            UserError: a setting that cannot be used.
        """
        return None

    @classmethod
    def metrics_of(cls, groups: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns `metrics`. A task whose metrics depend on the configuration overrides this method.

        Arguments:
            groups: of the configuration, plain.

        Raises:
            UserError: a setting that cannot be used.
        """
        return cls.metrics

    @classmethod
    def check_groups(cls, groups: Mapping[str, Any]) -> None:
        """Checks that settings of the model and of the data fit each other, before the data are read.

        Arguments:
            groups: of the configuration, plain; each is valid by itself.

        Raises:
            UserError: naming both keys.
        """

    @property
    def stage(self) -> TrainStage[TrainSettings]:
        """The stage that is trained."""
        return self.train_settings.run_stages()[self.position.number]

    @property
    def run_epoch(self) -> int:
        """The current epoch, counted from the beginning of the run."""
        return self.position.first_epoch + self.current_epoch

    @property
    def plan(self) -> Plan | StagedPlan | None:
        """The plan of the first optimizer; None before it is made, and if `train.scheduler` is set."""
        return next((scheduled.plan for scheduled in self.scheduled.values()), None)

    @property
    def optimizer_steps(self) -> int:
        """Steps that the first optimizer has really taken since the beginning of the stage."""
        if not self.scheduled:
            return 0
        return next(iter(self.scheduled.values())).steps

    def done(self, accumulate: int) -> Done:
        """Returns what the resumed run has done of its stage, up to the beginning of the current epoch.

        Arguments:
            accumulate: batches whose gradients make one step.
        """
        return Done() if self._resumed is None else self._resumed.done(accumulate)

    def optimizer_modules(self) -> Mapping[str, Sequence[nn.Module]]:
        """Returns the modules that each optimizer trains, by its name; the only optimizer has the name ""."""
        return {"": [self]}

    def parameter_parts(self, settings: TrainSettings) -> dict[str, list[Part]]:
        """Divides the parameters of each optimizer, by its name, into those of `train.groups` and all others.

        Arguments:
            settings: of a stage.

        Raises:
            UserError: a pattern of a group matches nothing, or a parameter is in two groups.
        """
        names = {parameter: name for name, parameter in self.named_parameters()}
        of_optimizers = {
            name: {names[p]: p for module in modules for p in module.parameters() if p.numel()}
            for name, modules in self.optimizer_modules().items()
        }
        trained = {name: p for own in of_optimizers.values() for name, p in own.items()}
        parts = divide(trained, settings.parameter_groups())
        return {
            name: [own for part in parts if (own := part.among(parameters)).parameters]
            for name, parameters in of_optimizers.items()
        }

    def batch_units(self, batch: Any) -> int:
        """Counts what a batch holds, in `unit`."""
        return 1

    def log_training(self, values: Mapping[str, Tensor], num_samples: int) -> None:
        """Logs values of a training batch as `train_NAME`; the value of an epoch is their mean over the samples.

        Lightning's own reduction over devices averages the batch sizes as whole numbers: 9 and 8 samples with the value
        1 would give 1.0625.

        Arguments:
            values: scalars by name; their mean over the devices is the value of the whole batch.
            num_samples: samples of the batch on all devices, the same number on each.
        """
        scalars = {f"train_{name}": value.detach() for name, value in values.items()}
        if num_processes() > 1:
            means = total(torch.stack(list(scalars.values()))) / num_processes()
            scalars = dict(zip(scalars, means, strict=True))
        if self.skipper is not None and not torch.isfinite(torch.stack(list(scalars.values()))).all():
            return  # the mean of the epoch is over the batches that are not left out
        self.log_dict(scalars, on_step=False, on_epoch=True, batch_size=num_samples, sync_dist=True)

    def summary(self) -> Mapping[str, Any]:
        """Returns the scores of the test; see `partoken.training.domain.Task.summary`."""
        scores = {name.removeprefix("test_"): float(value) for name, value in self.trainer.callback_metrics.items()}
        return {"test": scores}

    def freeze_parts(self, parts: Sequence[str]) -> None:
        """Stops the gradients of the named modules and lets all others have them.

        Torch's norms with running averages are put into evaluation mode while they are frozen. A task with another
        module that also learns without gradients overrides this method and freezes that too.

        Arguments:
            parts: names as in `named_modules`; a module inside a named one is frozen with it.
        """
        for name, module in self.named_modules():
            is_frozen = is_under(name, parts)
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(not is_frozen)
            if getattr(module, "track_running_stats", False):
                module.train(self.training and not is_frozen)

    def load_weights(self, checkpoint: Mapping[str, Any]) -> None:
        """Loads the weights with which a stage starts.

        A task that can start with a part of other weights overrides this method.

        Arguments:
            checkpoint: content of a checkpoint of an earlier stage or of another run.

        Raises:
            UserError: the weights are of another model.
        """
        self.check_weights(checkpoint)
        self.load_state_dict(dict(checkpoint["state_dict"]))

    def begin(self, given: str | None) -> None:
        """Prepares the weights with which a stage begins. It is not called when a stage is resumed.

        A task that can start with weights of its own overrides this method. The engine also calls it on an outline,
        before the data are read, so that what does not fit is refused early.

        Arguments:
            given: the checkpoint whose weights were loaded; None: the weights are those of a new model.

        Raises:
            UserError: the weights do not fit.
        """

    def configure_optimizers(self) -> Any:
        """Returns each optimizer with a `LambdaLR` over its plan, or with the scheduler that `train.scheduler` names.

        Raises:
            UserError: an impossible schedule, or another one than the resumed checkpoint's.
        """
        modules = self.optimizer_modules()
        self._check_names(list(modules))
        for name in modules:
            self.scheduled[name] = self._schedule(name)
        return [self._as_lightning_wants(scheduled) for scheduled in self.scheduled.values()]

    def optimize(self, loss: Tensor, optimizer: str) -> None:
        """Adds the gradient of a batch, and steps an optimizer when its window of accumulation is full.

        Only for a task with several optimizers; with one, Lightning does it. Gradients that the loss sends into the
        modules of other optimizers stay there: use Lightning's `toggle_optimizer` around the forward pass.

        Arguments:
            loss: scalar, not yet divided by the batches of the window.
            optimizer: name of the optimizer.
        """
        scheduled, steps = self.scheduled[optimizer], self.manual_steps
        self.manual_backward(loss / steps.accumulate)
        is_full = (self.trainer.fit_loop.batch_idx + 1) % steps.accumulate == 0
        if not is_full and not self.trainer.is_last_batch:
            return
        self._follow_plan(scheduled)
        wrapped = self._lightning_optimizer(optimizer)
        if self.skipper is not None and not self.skipper.can_step(scheduled.optimizer):
            wrapped.zero_grad()
            return
        wrapped.step()
        wrapped.zero_grad()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clips the gradients of a task with several optimizers; with one, Lightning does it.

        A gradient scaler has divided them by its scale before.
        """
        steps = self.manual_steps
        if steps.clip_value:
            self.clip_gradients(optimizer, steps.clip_value, steps.clip_algorithm)

    def backward(self, loss: Tensor, *arguments: Any, **options: Any) -> None:
        """Computes the gradients of a loss, unless `train.on_nonfinite=skip` leaves its batch out."""
        if self.skipper is None or self.skipper.takes(loss):
            super().backward(loss, *arguments, **options)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Steps the only optimizer, unless `train.on_nonfinite=skip` leaves the step out."""
        if self.skipper is None:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            self.skipper.step(optimizer, optimizer_closure)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Advances the scheduler, unless the optimizer did not step because of gradients that are not finite."""
        scheduled = next(item for item in self.scheduled.values() if item.scheduler is scheduler)
        if not scheduled.is_ahead:
            super().lr_scheduler_step(scheduler, metric)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[PREDICT_KEY] = self.predict_module
        states = {name: _state(scheduled) for name, scheduled in self.scheduled.items()}
        progress: Any = self.trainer.fit_loop.epoch_progress.current
        only = states.pop("", {})
        checkpoint[SCHEDULE_KEY] = {**only, "epoch": progress.processed, **({"optimizers": states} if states else {})}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            self.check_weights(checkpoint)  # a test and `load_from_checkpoint` need nothing else
            return
        try:
            self.check_weights(checkpoint)
        except UserError as error:
            raise UserError(f"train.resume_from={self.train_settings.resume_from}: {error}") from error
        saved = checkpoint.get(SCHEDULE_KEY, {})
        if "epoch" not in saved:
            _warn_of_old_checkpoint(saved)
        self._resumed = SavedState.read(checkpoint)
        if leaves_trunk(self.train_settings, self._resumed):
            count_in_steps(checkpoint, self._resumed)

    def _schedule(self, name: str) -> ScheduledOptimizer:
        """Creates an optimizer with its scheduler, and continues from the resumed checkpoint."""
        stage = self.train_settings.run_stages(name)[self.position.number]
        settings = stage.settings
        parts = self.parameter_parts(settings)[name]
        used = {part.group.name: part.group for part in parts if part.group is not None}
        length, batch = run_length(self), self._effective_batch()
        plans = {}
        if settings.scheduler is None:
            plans[""] = self._choose_plan(name, plan_run([stage], length, effective_batch=batch).plans[0])
            self._log_plan(name, plans[""])
            requested = plan_groups([stage], length, effective_batch=batch)
            plans |= {group: self._choose_plan(name, requested[group].plans[0], group) for group in used}
            rates = {group: plan.lr for group, plan in plans.items()}
        else:
            rate, scaling = peak_rate(settings, batch)
            rates = {"": rate, **{name: peak_rate(group.settings, batch)[0] for name, group in used.items()}}
            if scaling:
                log.info("%s", scaling)
        scheduled = build_scheduler(name, settings, parameter_groups(parts, settings, rates, plans), plans)
        log_groups(scheduled, self._frozen(stage.freeze))
        if self._resumed is not None:
            saved = self._resumed.schedules.get(name, {})
            scheduled.steps, scheduled.last_rate = saved.get("step", 0), saved.get("rate", math.nan)
            # Or torch would warn that the scheduler moves before the first step of this process.
            scheduled.optimizer._opt_called = scheduled.steps > 0  # type: ignore[attr-defined]
        count_steps(scheduled, lambda item: self.before_optimizer_step(item))
        return scheduled

    def _frozen(self, parts: Sequence[str]) -> set[nn.Parameter]:
        """Returns the parameters of the named parts, and those that the task itself does not train."""
        return {p for name, p in self.named_parameters() if is_under(name, parts) or not p.requires_grad}

    def _lightning_optimizer(self, name: str) -> LightningOptimizer:
        """Returns Lightning's wrapper of an optimizer, which steps it in the precision of the run."""
        wrapped = self.optimizers()
        assert isinstance(wrapped, list), "a task with several optimizers has several"
        return wrapped[list(self.scheduled).index(name)]

    def _as_lightning_wants(self, scheduled: ScheduledOptimizer) -> dict[str, Any]:
        configuration: dict[str, Any] = {
            "scheduler": scheduled.scheduler,
            "interval": scheduled.interval,
            "frequency": 1,  # with the interval "step" Lightning counts batches here, not optimizer steps
        }
        if scheduled.plan is None:  # ReduceLROnPlateau follows it
            configuration["monitor"] = self.train_settings.monitor
        return {"optimizer": scheduled.optimizer, "lr_scheduler": configuration}

    def _follow_plan(self, scheduled: ScheduledOptimizer) -> None:
        """Advances the scheduler of an optimizer that Lightning does not step to the time of its next step."""
        time = scheduled.steps if scheduled.interval == "step" else self.trainer.current_epoch
        while scheduled.scheduler.last_epoch < time:
            scheduled.scheduler.step()

    def _effective_batch(self) -> int:
        """Returns the samples of one optimizer step, over all devices."""
        return self.train_settings.batch_size * steps_window(self) * self.trainer.world_size

    def _log_plan(self, name: str, plan: Plan | StagedPlan) -> None:
        title = f"schedule of {name}" if name else "schedule"
        if plan.scaling:
            log.info("%s", plan.scaling)
        log.info("%s: %s", title, plan.headline)
        for advice in plan.advice():
            log.info("%s, advice: %s", title, advice)

    def _choose_plan(self, name: str, requested: Plan, group: str = "") -> Plan:
        """Returns the requested plan, or the resumed checkpoint's if that is another one and shall be kept.

        Arguments:
            name: of the optimizer.
            requested: of the optimizer, or of one of its groups.
            group: name of the group; "" for the optimizer.
        """
        if self._resumed is None:
            return requested
        saved = saved_plan(self._resumed.schedules.get(name), group)
        plan, change = choose_plan(saved, requested, self._resumed.epochs, self.train_settings)
        if change:
            of_group = f", group {group}" if group else ""
            log.warning("train.on_schedule_change=%s%s:\n%s", self.train_settings.on_schedule_change, of_group, change)
        return plan

    def _check_names(self, names: list[str]) -> None:
        """Rejects settings of an optimizer that this task does not have, and schedulers that it cannot step."""
        key = "train" if "optimizers" not in self.stage.settings.origin else self.stage.path
        for name in self.train_settings.optimizers_of(self.position.number):
            if name not in names:
                known = f"its optimizers are {', '.join(names)}" if names != [""] else "it has a single optimizer"
                raise UserError(
                    f"{key}.optimizers.{name}: the model has no such optimizer, {known}.{did_you_mean(name, names)}"
                )
        if names != [""] and self.train_settings.scheduler is not None:
            raise UserError("train.scheduler: a model with several optimizers needs the schedule of train; set it null")

    def check_weights(self, checkpoint: Mapping[str, Any], parts: Sequence[str] | None = None) -> None:
        """Rejects the checkpoint of another model, naming the settings in which they differ.

        Arguments:
            checkpoint: its content.
            parts: names of modules; only these are compared. None: the whole model.

        Raises:
            UserError: a tensor is missing, is not known here, or has another shape.
        """
        own, saved = (
            {name: tuple(value.shape) for name, value in state.items() if parts is None or is_under(name, parts)}
            for state in (self.state_dict(), checkpoint["state_dict"])
        )
        if own == saved:
            return
        ours = dict(self.hparams)
        theirs = checkpoint.get("hyper_parameters", ours)
        settings = [
            f"model.{key}: {theirs[key]} there, {ours[key]} here"
            for key in ours
            if key in theirs and key not in ("train", "data", *self.decides_no_tensor) and theirs[key] != ours[key]
            if not isinstance(ours[key], float)  # rates and weights of losses decide no tensor
        ]
        differing = [name for name in {**own, **saved} if own.get(name) != saved.get(name)]
        tensors = [f"{name}: {saved.get(name)} there, {own.get(name)} here" for name in differing[:3]]
        reasons = "; ".join(settings[:5] or tensors)
        raise UserError(f"the checkpoint is of another model, {len(differing)} of its tensors do not fit: {reasons}")


def metric_names(evaluated: Sequence[str], training: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of metrics as they are logged.

    Arguments:
        evaluated: scores of the validation and of the test.
        training: terms of the training loss.

    >>> metric_names(["accuracy"], ["loss"])
    ('val_accuracy', 'test_accuracy', 'train_loss')
    """
    scores = [f"{split}_{name}" for split in ("val", "test") for name in evaluated]
    return (*scores, *(f"train_{name}" for name in training))


def scheduled_module(module: pl.LightningModule) -> ScheduledModule:
    """Returns the module that Lightning hands to a callback as the task that it is."""
    assert isinstance(module, ScheduledModule), "tasks are ScheduledModules"
    return module


def steps_window(module: ScheduledModule) -> int:
    """Returns the batches whose gradients make one optimizer step."""
    return module.trainer.accumulate_grad_batches * module.manual_steps.accumulate


def run_length(module: ScheduledModule) -> RunLength:
    """Returns the length that the trainer of a module will take; it may not have loaded its data yet."""
    trainer = module.trainer
    accumulate = steps_window(module)
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    batches = trainer.num_training_batches
    epochs, max_steps = trainer.max_epochs, trainer.max_steps
    return RunLength.count(
        epochs=None if epochs in (None, -1) else epochs,
        # Lightning counts the steps of all optimizers together.
        max_steps=None if max_steps == -1 or module.stage.has_length else max_steps // len(module.optimizer_modules()),
        steps_per_epoch=None if batches == math.inf else math.ceil(batches / accumulate),
        done=module.done(accumulate),
    )


def task_class(target: object) -> type[ScheduledModule] | None:
    """Returns the class of a task.

    Arguments:
        target: `_target_` of the `model` group; None is returned if it names a function, or nothing of this kind.
    """
    try:
        kind = find_target(str(target))
    except (ImportError, AttributeError, UserError):
        return None
    return kind if isinstance(kind, type) and issubclass(kind, ScheduledModule) else None


def _state(scheduled: ScheduledOptimizer) -> dict[str, Any]:
    plan = None if scheduled.plan is None else scheduled.plan.fingerprint()
    groups = {name: own.fingerprint() for name, own in scheduled.group_plans.items()}
    state = {"step": scheduled.steps, "plan": plan, "rate": scheduled.last_rate}
    return {**state, **({"groups": groups} if groups else {})}


def _warn_of_old_checkpoint(saved: Mapping[str, Any]) -> None:
    """Warns if a checkpoint within an epoch was written before data modules saved their position."""
    steps_per_epoch = (saved.get("plan") or {}).get("steps_per_epoch")
    if steps_per_epoch and saved["step"] % steps_per_epoch:
        log.warning("the checkpoint was written within an epoch by an older version: the epoch's data starts again")
