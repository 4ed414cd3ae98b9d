"""The settings of a training: the keys of `train`, their defaults and every check of them.

torch is imported only if `train.scheduler` names a scheduler of torch.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from partoken.errors import UserError, check_choice, check_flag, check_number, check_text, did_you_mean
from partoken.schedule import RunLength, ScheduleSettings
from partoken.training.groups import DEFAULT, EXAMPLE, OWN_SETTINGS, OWN_WARMUP, Group, check_group
from partoken.training.stages import FILES, INITIAL, TrainStage, check_names, stage_class, weights_source

__all__ = ["OPTIMIZERS", "TrainSettings"]

OPTIMIZERS = ("adam", "adamw", "sgd")
NO_WEIGHT_DECAY = ("biases_and_norms", "none")
MONITOR_MODES = ("max", "min")
ON_SCHEDULE_CHANGE = ("error", "keep", "extend")
ON_NONFINITE = ("stop", "skip")

WARMUP_KEYS = ("warmup_epochs", "warmup_steps")
CURVE_KEYS = (*WARMUP_KEYS, "min_lr", "num_cycles")
"""Keys of warm-up and cosine, which `train.scheduler` replaces."""
RATE_KEYS = ("lr", "use_cosine_schedule", "warmup_epochs", "warmup_steps", "min_lr", "num_cycles", "schedule")
OPTIMIZER_KEYS = ("optimizer", "weight_decay", "no_weight_decay", *RATE_KEYS)
STAGE_KEYS = (*OPTIMIZER_KEYS, "optimizers", "groups", "monitor", "monitor_mode", "early_stopping_patience")
"""Keys of `train` that a stage may set for itself, beside the fields of its kind (`TrainStage.keys`)."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings(ScheduleSettings):
    """Everything that `train.*` can set. The keys of the schedule come from `ScheduleSettings`.

    Raises:
        UserError: a value that cannot be used, naming its key.
    """

    epochs: int = 10
    """Epochs of the run, 1 or more; `trainer.max_epochs` follows it."""
    lr: float = 1e-3
    """Peak learning rate, above 0."""
    batch_size: int = 8
    """Samples of a batch, 1 or more."""
    num_workers: int = 0
    """Processes that load batches; 0 loads in the main process."""
    seed: int = 0
    """Seed of the parameters, the splits and the order of the data, 0 or more."""
    optimizer: str = "adamw"
    """One of `OPTIMIZERS`."""
    weight_decay: float = 1e-4
    """Weight decay, 0 or more; not applied to what `no_weight_decay` names."""
    no_weight_decay: str = "biases_and_norms"
    """Parameters without weight decay: "biases_and_norms", all with fewer than two dimensions, or "none"."""
    warmup_epochs: float | None = 5
    """Epochs of warm-up; a fraction is allowed if the interval is "step". None: not set here."""
    lr_scaling_base_batch: float = 8
    """Effective batch for which `lr` was chosen, above 0."""
    scheduler: Mapping[str, Any] | None = None
    """A scheduler of torch instead of warm-up and cosine: `_target_` and its arguments. None: warm-up and cosine."""
    stages: Mapping[str, Mapping[str, Any]] | Sequence[Mapping[str, Any]] | None = None
    """Stages that follow one another, by name or as a list, each with `epochs` or `steps`, with any fields of its kind
    (see `partoken.training.stages.TrainStage`), and with any of `STAGE_KEYS`. None: the run is one stage."""
    stage_epochs: int | None = None
    """Epochs of every stage, 1 or more, in place of its own length, for a short run. The warm-up of a stage is then
    10 % of it; `ramp_epochs` and `freeze_last_epochs` are cut to fit. None: stages have their own lengths."""
    optimizers: Mapping[str, Mapping[str, Any]] | None = None
    """Settings of single optimizers, by their names, for a task that has several; any of `OPTIMIZER_KEYS`. None: all
    optimizers have the settings of `train`."""
    groups: Mapping[str, Mapping[str, Any]] | None = None
    """Parameters, chosen by name, with a rate, a warm-up or a weight decay of their own: the settings of each group by
    its name, any of `GROUP_KEYS`. None: all parameters have the settings of `train`."""
    freeze: Sequence[str] = ()
    """Names of the model's parts that are not trained."""
    weights_from: str | None = None
    """Checkpoint or folder of another run, with whose weights the first stage starts. None: with new weights."""
    monitor: str
    """Metric that decides which epoch is best; a sweep optimises it."""
    monitor_mode: str
    """"max" or "min": which value of the monitor is best."""
    early_stopping_patience: int | None = None
    """Validations without a better monitor after which the run ends, 1 or more. None: it does not end early."""
    resume_from: str | None = None
    """Checkpoint from which the run continues. None: it starts from the beginning."""
    on_schedule_change: str = "error"
    """If the resumed checkpoint has another plan: "error" refuses it, "keep" follows the plan of the checkpoint,
    "extend" follows the requested plan."""
    on_nonfinite: str = "stop"
    """If the loss of a batch is not a finite number: "stop" ends the run, "skip" leaves the batch out and counts it."""
    use_wandb: bool = False
    """Log to Weights & Biases; offline unless the environment variable WANDB_MODE decides otherwise."""
    wandb_project: str = "partoken"
    """Project of Weights & Biases, and experiment of MLflow."""

    @classmethod
    def read(cls, source: Mapping[str, Any]) -> Self:
        """Creates the settings from the `train` group of the configuration.

        Raises:
            UserError: an unknown key or a value that cannot be used.
        """
        known = cls.names()
        for key in source:
            if key not in known and key != "_target_":
                raise UserError(f"train.{key} is not a key of the configuration.{did_you_mean(key, known)}")
        return cls(**{key: value for key, value in source.items() if key != "_target_"})

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Returns the keys of the `train` group."""
        return tuple(item.name for item in fields(cls) if item.name != "origin")

    def plain(self) -> dict[str, Any]:
        """Returns the settings as plain values, for a checkpoint."""
        return {name: _plain(getattr(self, name)) for name in self.names()}

    def optimizer_names(self) -> tuple[str, ...]:
        """Returns the names of the optimizers that have settings of their own in any stage; ("",) if there are none.

        >>> stages = [{"epochs": 3}, {"epochs": 2, "optimizers": {"generator": {}, "discriminator": {"lr": 0.1}}}]
        >>> TrainSettings(stages=stages, monitor="val_loss", monitor_mode="min").optimizer_names()
        ('generator', 'discriminator')
        """
        stages = len(self._named_stages()) if self.stages is not None else 1
        return tuple(dict.fromkeys(name for number in range(stages) for name in self.optimizers_of(number))) or ("",)

    def optimizers_of(self, number: int) -> Mapping[str, Mapping[str, Any]]:
        """Returns the settings of single optimizers in a stage, by their names."""
        own = self.optimizers
        if self.stages is not None:
            _, values = list(self._named_stages().values())[number]
            own = values.get("optimizers", own)
        return own or {}

    def without_effect(self) -> list[str]:
        """Returns a sentence for each setting that has a value and no effect, beside those of the schedule."""
        if self.forks and self.epochs != type(self).epochs:
            return [f"train.epochs={self.epochs} has no effect: {self.segments_key} decides the length of a fork"]
        if self.epochs == self.stage_epochs:  # a preset sets both, for runs with stages and without
            return []
        if self.scheduler is not None:
            keys = [key for key in CURVE_KEYS if getattr(self, key) not in (None, getattr(type(self), key))]
            return [f"{self.assignment(key)} has no effect: train.scheduler moves the rate" for key in keys]
        if self.stages is None:
            found = f"train.stage_epochs={self.stage_epochs} has no effect: the run has no train.stages"
            return [] if self.stage_epochs is None else [found]
        if self.epochs == type(self).epochs:
            return []
        lengths = "have lengths of their own" if self.stage_epochs is None else f"take {self.stage_epochs} epochs each"
        return [f"train.epochs={self.epochs} has no effect: the stages of train.stages {lengths}"]

    def check_limits(self, trainer: Mapping[str, Any]) -> None:
        """Rejects limits of the trainer beside stages, which have lengths of their own.

        Arguments:
            trainer: the `trainer` group of the configuration.

        Raises:
            UserError: naming the limit.
        """
        epochs = trainer.get("max_epochs", self.epochs)
        if self.stages is not None and epochs not in (self.epochs, -1):
            raise UserError(
                f"trainer.max_epochs={epochs}: the stages of train.stages have lengths of their own; leave it out"
            )

    def run_stages(self, optimizer: str = "") -> "tuple[TrainStage[TrainSettings], ...]":
        """Returns the stages of the run; a run without `train.stages` is one stage without a length of its own.

        Arguments:
            optimizer: name of one of several optimizers, whose settings apply; "" for the only one.

        Raises:
            UserError: naming the stage and the key.

        >>> stages = [{"epochs": 3}, {"epochs": 2, "lr": 0.01, "freeze": ["encoder"]}]
        >>> settings = TrainSettings(stages=stages, monitor="val_loss", monitor_mode="min")
        >>> [(stage.epochs, stage.settings.lr, stage.freeze) for stage in settings.run_stages()]
        [(3, 0.001, ()), (2, 0.01, ('encoder',))]
        """
        if self.stages is None:
            settings = self._of_optimizer(optimizer)
            return (TrainStage(settings, freeze=self.freeze, weights_from=self.weights_from),)
        stages: list[TrainStage[TrainSettings]] = []
        for name, (path, values) in self._named_stages().items():
            kind = stage_class(path, values)
            values = self._shortened(values)
            own = {**kind.settings_of_kind, **{key: value for key, value in values.items() if key in STAGE_KEYS}}
            settings = self._override(path, own, stages=None)._of_optimizer(optimizer)
            fields_of_kind = {key: value for key, value in values.items() if key in kind.keys()}
            fields_of_kind.setdefault("freeze", self.freeze)
            if not stages:
                fields_of_kind.setdefault("weights_from", self.weights_from)
            stages.append(kind(settings, name, path=path, **fields_of_kind))
        return tuple(stages)

    def _shortened(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the settings of a stage that takes `stage_epochs`, if they are set."""
        if self.stage_epochs is None:
            return values
        epochs = self.stage_epochs
        changed: dict[str, Any] = {"epochs": epochs, "steps": None, **dict.fromkeys(WARMUP_KEYS)}
        if values.get("ramp_epochs", 0) > epochs:
            changed["ramp_epochs"] = epochs
        if values.get("freeze_last_epochs", 0) >= epochs:
            changed["freeze_last_epochs"] = epochs - 1
            if epochs == 1:
                changed["freeze_last"] = ()
        if optimizers := values.get("optimizers", self.optimizers):
            changed["optimizers"] = {
                name: {key: value for key, value in own.items() if key not in WARMUP_KEYS}
                for name, own in optimizers.items()
            }
        return {**values, **changed}

    def _named_stages(self) -> dict[str, tuple[str, Any]]:
        """Returns the configuration key and the settings of each stage; stages of a list are named 1, 2, ..."""
        if isinstance(self.stages, Mapping):
            return {str(name): (f"train.stages.{name}", stage) for name, stage in self.stages.items()}
        listed = self.stages or []
        return {str(number + 1): (f"train.stages[{number}]", stage) for number, stage in enumerate(listed)}

    def parameter_groups(self) -> "tuple[Group[TrainSettings], ...]":
        """Returns the groups of parameters, sorted by name, each with the settings of `train` and its own.

        They are sorted because the states of an optimizer in a checkpoint have only the order of its groups.

        Raises:
            UserError: naming the key of a group.

        >>> groups = {"encoder": {"match": "network.encoder.*", "factor": 0.1, "warmup_epochs": 2}}
        >>> [group] = TrainSettings(lr=0.01, groups=groups, monitor="val_loss", monitor_mode="min").parameter_groups()
        >>> group.settings.lr, group.settings.warmup_epochs, group.settings.min_lr
        (0.001, 2, 0.0)
        """
        return tuple(self._group(name, own) for name, own in sorted((self.groups or {}).items()))

    def _group(self, name: str, own: Mapping[str, Any]) -> "Group[TrainSettings]":
        path = f"{self.key('groups')}.{name}"
        patterns = check_group(path, own)
        is_short = self.stage_epochs is not None
        values = {
            key: own[key] for key in OWN_SETTINGS if own.get(key) is not None and not (is_short and key in WARMUP_KEYS)
        }
        if "warmup_epochs" in values:
            values.setdefault("warmup_steps", None)
        settings = replace(self, groups=None, stages=None, optimizers=None)._override(path, values)
        if (factor := own.get("factor")) is not None:
            origin = {**settings.origin, "lr": f"{self.key('lr')} x {path}.factor"}
            settings = replace(settings, lr=factor * self.lr, origin=origin)
        return Group(name, path, patterns, settings, own.get("lr") is not None, own.get("layer_decay"))

    def _of_optimizer(self, name: str) -> Self:
        own = (self.optimizers or {}).get(name, {})
        return self._override(f"{self.key('optimizers')}.{name}", own, optimizers=None)

    def _override(self, path: str, values: Mapping[str, Any], **cleared: None) -> Self:
        """Returns the settings of a stage or an optimizer, which remember the configuration keys of their values."""
        origin = {**self.origin, **{key: f"{path}.{key}" for key in values}}
        if "stages" in cleared:
            origin["epochs"] = f"{path}.epochs"
        changes: dict[str, Any] = {**cleared, **values, "origin": origin}
        return replace(self, **changes)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups is not None:
            self._check_groups()
        self._check_training()
        if self.stages is not None:
            self._check_stages()
            if self.forks:
                raise UserError(
                    f"{self.segments_key}: length=done forks a run of one stage, and this run has train.stages; resume "
                    "it with schedule=none, or fork a run without stages"
                )
        else:
            weights_source([TrainStage(self, weights_from=self.weights_from)], 0)
        if self.optimizers is not None:
            self._check_optimizers()

    def _check_training(self) -> None:
        for name, minimum in (("epochs", 1), ("batch_size", 1), ("num_workers", 0), ("seed", 0)):
            check_number(self.key(name), getattr(self, name), minimum=minimum, whole=True)
        check_number(self.key("stage_epochs"), self.stage_epochs, minimum=1, whole=True, optional=True)
        check_choice(self.key("optimizer"), self.optimizer, OPTIMIZERS)
        check_number(self.key("weight_decay"), self.weight_decay, minimum=0)
        check_choice(self.key("no_weight_decay"), self.no_weight_decay, NO_WEIGHT_DECAY)
        check_text(self.key("monitor"), self.monitor)
        check_choice(self.key("monitor_mode"), self.monitor_mode, MONITOR_MODES)
        patience = self.early_stopping_patience
        check_number(self.key("early_stopping_patience"), patience, minimum=1, whole=True, optional=True)
        check_text(self.key("weights_from"), self.weights_from, optional=True)
        check_text(self.key("resume_from"), self.resume_from, optional=True)
        check_choice(self.key("on_schedule_change"), self.on_schedule_change, ON_SCHEDULE_CHANGE)
        check_choice(self.key("on_nonfinite"), self.on_nonfinite, ON_NONFINITE)
        check_flag(self.key("use_wandb"), self.use_wandb)
        check_text(self.key("wandb_project"), self.wandb_project)
        object.__setattr__(self, "freeze", check_names(self.key("freeze"), self.freeze))
        if self.scheduler is not None:
            self._check_scheduler(self.scheduler)

    def _check_scheduler(self, scheduler: Mapping[str, Any]) -> None:
        if not isinstance(scheduler, Mapping) or "_target_" not in scheduler:
            example = "{_target_: torch.optim.lr_scheduler.StepLR, step_size: 10}"
            raise UserError(f"train.scheduler={scheduler!r}: must be a mapping such as {example}, or null")
        if self.optimizers is not None:
            raise UserError("train.scheduler: train.optimizers needs the schedule of train; set one of them to null")
        self._try_scheduler(scheduler)
        if self.segments is not None:
            raise UserError(
                f"train.scheduler replaces the schedule, but {self.segments_key} asks for a curve; set schedule=none "
                "or train.scheduler=null"
            )
        if self.use_cosine_schedule:
            raise UserError(
                "train.scheduler replaces warm-up and cosine, but train.use_cosine_schedule=true asks for them; set "
                "train.use_cosine_schedule=false or train.scheduler=null"
            )

    def check_scheduler(self, length: RunLength) -> None:
        """Rejects a scheduler of torch that would fail in a run of this length, if `scheduler` names one.

        Arguments:
            length: of the run; a scheduler that moves by step is tried only if the number of steps is known.

        Raises:
            UserError: naming the step at which it fails.
        """
        steps = length.total_steps if self.schedule_interval == "step" else length.total_epochs
        if self.scheduler is not None and steps is not None:
            self._try_scheduler(self.scheduler, steps)

    def _try_scheduler(self, scheduler: Mapping[str, Any], steps: int = 1) -> None:
        from partoken.training.torch_scheduler import check_torch_scheduler  # imports torch

        rates = [self.lr, *(group.settings.lr for group in self.parameter_groups())]
        check_torch_scheduler(scheduler, rates=rates, steps=steps)

    def _check_stages(self) -> None:
        example = "[{epochs: 10}, {epochs: 5, lr: 1e-4}] or {first: {epochs: 10}, second: {epochs: 5, lr: 1e-4}}"
        stages = self.stages
        if not isinstance(stages, Sequence | Mapping) or isinstance(stages, str) or not stages:
            raise UserError(f"train.stages={stages!r}: must be a list of stages or stages by name, such as {example}")
        if self.scheduler is not None:
            raise UserError("train.scheduler: a scheduler of torch knows no stages; set train.stages=null")
        for name, (path, stage) in self._named_stages().items():
            if isinstance(stages, Mapping):
                _check_name(path, name, "stage")
            if not isinstance(stage, Mapping):
                raise UserError(f"{path}={stage!r}: must be a mapping such as {{epochs: 5, lr: 1e-4}}")
            _check_keys(path, stage, (*stage_class(path, stage).keys(), *STAGE_KEYS, "_target_"))
            if (stage.get("epochs") is None) == (stage.get("steps") is None):
                found = f"epochs={stage.get('epochs')} and {path}.steps={stage.get('steps')}"
                raise UserError(f"{path}.{found}: the length of a stage is one of them; set the other one to null")
        listed = self.run_stages()
        for number in range(len(listed)):
            weights_source(listed, number)

    def _check_optimizers(self) -> None:
        optimizers = self.optimizers
        if not isinstance(optimizers, Mapping) or not optimizers:
            example = "{discriminator: {lr: 1e-4}}"
            raise UserError(f"{self.key('optimizers')}={optimizers!r}: must be a mapping such as {example}, or null")
        for name, own in optimizers.items():
            path = f"{self.key('optimizers')}.{name}"
            _check_name(path, name, "optimizer")
            if not isinstance(own, Mapping):
                raise UserError(f"{path}={own!r}: must be a mapping such as {{lr: 1e-4}}")
            _check_keys(path, own, OPTIMIZER_KEYS)
            self.run_stages(name)

    def _check_groups(self) -> None:
        groups, key = self.groups, self.key("groups")
        if not isinstance(groups, Mapping) or not groups:
            raise UserError(f"{key}={groups!r}: must be a mapping such as {{encoder: {EXAMPLE}}}, or null")
        for name in groups:
            _check_name(f"{key}.{name}", name, "group")
            if name == DEFAULT:
                raise UserError(f"{key}.{name}: this is the name of the parameters without a group; choose another one")
        for group in self.parameter_groups():
            for own in OWN_WARMUP if self.scheduler is not None else ():
                if groups[group.name].get(own) is not None:
                    raise UserError(
                        f"{group.path}.{own}={groups[group.name][own]}: train.scheduler moves the rates of all groups "
                        "and knows no warm-up or minimum of one of them; leave it out, or set train.scheduler=null"
                    )


def _check_name(path: str, name: object, kind: str) -> None:
    if name in (*FILES, INITIAL) and kind != "group":
        raise UserError(f"{path}: the name {name} has a meaning in weights_from; choose another one")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise UserError(f"{path}: the name of a {kind} must consist of letters, digits and underscores")


def _check_keys(path: str, values: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for key in values:
        if key not in allowed:
            listed = ", ".join(allowed)
            raise UserError(f"{path}.{key} is not a key here; allowed: {listed}.{did_you_mean(str(key), allowed)}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
