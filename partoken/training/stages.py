"""The stages of a run: what a stage trains, for how long, and with which weights it starts. Imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from partoken.errors import UserError, check_number, check_text, did_you_mean
from partoken.schedule import ScheduleSettings, Stage
from partoken.system.targets import find_target

if TYPE_CHECKING:
    from torch import nn

    from partoken.training.domain import DataModule, Task

__all__ = [
    "ONLY_STAGE",
    "Position",
    "TrainStage",
    "WeightsSource",
    "check_names",
    "is_under",
    "named",
    "stage_class",
    "weights_source",
]

Settings = TypeVar("Settings", bound=ScheduleSettings)

FILES = ("best", "last")
"""Checkpoints of a stage."""
INITIAL = "initial"
"""Value of `weights_from` for the weights that the model starts with."""


@dataclass(frozen=True)
class TrainStage(Stage[Settings]):
    """A stage that trains the model of the run. Another kind of stage is a subclass.

    The engine knows only the methods of this class. A subclass adds keys as fields. It overrides methods to change the
    data, the model, the weights it starts with, and what happens before its first step and after its test. The
    configuration names it with `_target_`.

    Raises:
        UserError: a value that cannot be used, naming its key.
    """

    settings_of_kind: ClassVar[Mapping[str, Any]] = {}
    """Keys of `train` that have another default in this kind of stage."""

    freeze: Sequence[str] = ()
    """Parts of the model that are not trained."""
    freeze_last: Sequence[str] = ()
    """Parts of the model that are not trained in the last `freeze_last_epochs` epochs."""
    freeze_last_epochs: int = 0
    """Epochs at the end of the stage without training of `freeze_last`, 0 or more."""
    ramp_epochs: float = 0
    """Epochs in which the weights of the loss move linearly from those of the stage before (in the first stage from 0)
    to those of this stage; 0: at once."""
    weights_from: str | None = None
    """Weights at the beginning: "best" or "last" of the stage before, "NAME.best" or "NAME.last" of an earlier stage,
    "initial", or the path of another run's checkpoint or folder. None: "last" of the stage before, and in the first
    stage `train.weights_from` or else "initial"."""
    model: Mapping[str, Any] | None = None
    """Keys of the `model` group with other values in this stage."""
    data: Mapping[str, Any] | None = None
    """Keys of the `data` group with other values in this stage."""
    path: str = "train"
    """Key of the stage in the configuration, for messages."""

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Returns the configuration keys that are fields of this kind of stage."""
        return tuple(item.name for item in fields(cls) if item.name not in ("settings", "name", "path"))

    def __post_init__(self) -> None:
        for name in ("epochs", "steps"):
            check_number(f"{self.path}.{name}", getattr(self, name), minimum=1, whole=True, optional=True)
        for name in ("freeze", "freeze_last"):
            object.__setattr__(self, name, check_names(f"{self.path}.{name}", getattr(self, name)))
        check_text(f"{self.path}.weights_from", self.weights_from, optional=True)
        check_number(f"{self.path}.ramp_epochs", self.ramp_epochs, minimum=0)
        check_number(f"{self.path}.freeze_last_epochs", self.freeze_last_epochs, minimum=0, whole=True)
        for name in ("model", "data"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise UserError(f"{self.path}.{name}={value!r}: must be a mapping of keys of {name}, or null")
        if bool(self.freeze_last) != bool(self.freeze_last_epochs):
            raise UserError(f"{self.path}: freeze_last and freeze_last_epochs need each other; set both or neither")
        if self.epochs is not None:
            self.check_epochs(self.epochs)

    def check_epochs(self, epochs: int) -> None:
        """Rejects a ramp or a freeze that is longer than the stage."""
        if self.ramp_epochs > epochs:
            raise UserError(
                f"{self.path}.ramp_epochs={self.ramp_epochs:g}: the stage has {epochs} epochs, so its loss would never "
                f"have its weights; set it to {epochs} or less"
            )
        if self.freeze_last_epochs >= epochs:
            raise UserError(
                f"{self.path}.freeze_last_epochs={self.freeze_last_epochs}: the stage has {epochs} epochs; set it "
                f"below {epochs}, or name the parts in {self.path}.freeze"
            )

    def check_model(self, model: nn.Module) -> None:
        """Rejects settings that do not fit the model.

        Arguments:
            model: an outline of the task, or the task itself; its weights are not read.
        """
        names = [name for name, _ in model.named_modules() if name]
        for key in ("freeze", "freeze_last"):
            for part in getattr(self, key):
                if part not in names:
                    known = ", ".join([name for name in names if name.count(".") < 2][:20])
                    hint = did_you_mean(part, names)
                    raise UserError(f"{self.path}.{key}={part}: the model has no such part.{hint} Parts: {known}")
        frozen = (*self.freeze, *self.freeze_last)
        if all(is_under(name.rpartition(".")[0], frozen) for name, _ in model.named_parameters()):
            key = "freeze_last" if self.freeze_last else "freeze"
            raise UserError(f"{self.path}.{key}={list(frozen)}: nothing is left to train; leave a part out")
        if self.ramp_epochs and not getattr(model, "loss_weights", None):
            raise UserError(f"{self.path}.ramp_epochs={self.ramp_epochs:g}: the loss of this model has no weights")

    def groups(self, groups: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the groups of the configuration as they are in this stage.

        Arguments:
            groups: of the run, plain.
        """
        return {**groups, "model": _merged(groups["model"], self.model), "data": _merged(groups["data"], self.data)}

    def frozen(self, epoch: int, num_epochs: int | None) -> tuple[str, ...]:
        """Returns the parts that are not trained in an epoch of the stage, counted from 0.

        Arguments:
            epoch: counted from the beginning of the stage.
            num_epochs: epochs of the stage; None: unknown.
        """
        is_last = num_epochs is not None and epoch >= num_epochs - self.freeze_last_epochs
        return (*self.freeze, *(self.freeze_last if is_last else ()))

    def load_weights(self, model: Task, checkpoint: Mapping[str, Any]) -> None:
        """Loads the weights that the stage starts with.

        Arguments:
            model: the task of this stage.
            checkpoint: content of the checkpoint that `weights_from` names.
        """
        model.load_weights(checkpoint)

    def prepare(self, model: Task, batches: Iterable[Any]) -> None:
        """Prepares the model before the first step of the stage; a resume within the stage does not call it.

        Arguments:
            model: the task, on its device.
            batches: the training batches of an epoch, on the same device, read as they are asked for.
        """

    def finish(self, model: Task, data: DataModule, folder: Path, best: Path) -> None:
        """Leaves files for later stages, after the test; only the main process calls it.

        Arguments:
            model: the task with the weights of its best checkpoint.
            data: of this stage.
            folder: `checkpoints/NAME` of the stage, which a resume takes over.
            best: the checkpoint that was tested.
        """


@dataclass(frozen=True)
class Position:
    """The place of a stage in its run. Numbers count from 0."""

    number: int = 0
    """Number of the stage."""
    num_stages: int = 1
    first_step: int = 0
    """Optimizer steps planned before the stage."""
    first_epoch: int = 0
    """Epochs planned before the stage."""
    total_epochs: int | None = None
    """Epochs of the whole run; None: unknown."""


ONLY_STAGE = Position()
"""Position of the stage of a run that has a single one."""


@dataclass(frozen=True)
class WeightsSource:
    """The checkpoint with which a stage starts."""

    stage: str
    """Name of an earlier stage; "" for the checkpoint of another run."""
    file: str
    """best or last; for another run the path of its checkpoint."""

    def path(self, checkpoints: Path) -> Path:
        """Returns the file of the checkpoint.

        Arguments:
            checkpoints: folder of the checkpoints of this run.
        """
        return checkpoints / self.stage / f"{self.file}.ckpt" if self.stage else Path(self.file)

    def __str__(self) -> str:
        return f"{self.stage}, {self.file}.ckpt" if self.stage else self.file


def weights_source(stages: Sequence[TrainStage[Any]], number: int) -> WeightsSource | None:
    """Returns the checkpoint with which a stage starts; None if it starts with the model's initial weights.

    Raises:
        UserError: `weights_from` names neither an earlier stage nor a file.

    >>> stages = [TrainStage(None, name, epochs=1, weights_from=word)
    ...           for name, word in (("first", None), ("second", None), ("third", "first.best"))]
    >>> [weights_source(stages, number) for number in (1, 2)]
    [WeightsSource(stage='first', file='last'), WeightsSource(stage='first', file='best')]
    """
    stage, earlier = stages[number], [stage.name for stage in stages[:number]]
    source = stage.weights_from or ("last" if number else INITIAL)
    if source == INITIAL:
        return None
    name, _, file = source.rpartition(".")
    if source in FILES and earlier:
        name, file = earlier[-1], source
    if name in earlier and file in FILES:
        return WeightsSource(name, file)
    if source.endswith(".ckpt"):
        return WeightsSource("", source)
    if "/" in source or Path(source).is_dir():
        return WeightsSource("", str(Path(source, "checkpoints", "best.ckpt")))
    choices = [*(FILES if earlier else ()), INITIAL, *(f"{name}.{file}" for name in earlier for file in FILES)]
    others = "or name a run folder or a checkpoint that ends in .ckpt"
    key, allowed = f"{stage.path}.weights_from={source}", f"choose from {', '.join(choices)}, {others}."
    for later in stages[number:]:
        if later.name and later.name in (name, source):
            raise UserError(f"{key}: stage {later.name} does not come before stage {stage.name}; {allowed}")
    raise UserError(f"{key}: there is no such checkpoint; {allowed}{did_you_mean(source, choices)}")


def stage_class(path: str, values: Mapping[str, Any]) -> type[TrainStage[Any]]:
    """Returns the kind of a stage, which its `_target_` names.

    Arguments:
        path: key of the stage in the configuration.
        values: of the stage.

    Raises:
        UserError: `_target_` names no kind of stage.
    """
    target = values.get("_target_")
    if target is None:
        return TrainStage
    try:
        kind = find_target(target, f"{path}._target_")
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{path}._target_={target}: cannot be imported ({error}); leave it out, or correct it"
        ) from error
    if not isinstance(kind, type) or not issubclass(kind, TrainStage):
        raise UserError(f"{path}._target_={target}: must be a subclass of TrainStage; leave it out, or correct it")
    return kind


@contextlib.contextmanager
def named(stage: TrainStage[Any]) -> Iterator[None]:
    """Names the stage in the messages of user errors of a block."""
    try:
        yield
    except UserError as error:
        raise UserError(f"stage {stage.name}: {error}" if stage.name else str(error)) from error


def is_under(name: str, parts: Sequence[str]) -> bool:
    """Returns whether a module is one of the named ones, or inside one.

    >>> is_under("network.encoder.0", ["network.encoder"]), is_under("network.encoder2", ["network.encoder"])
    (True, False)
    """
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def check_names(key: str, parts: Any) -> tuple[str, ...]:
    """Returns the names of parts of a model as a tuple.

    Raises:
        UserError: it is no list of names.
    """
    is_list = isinstance(parts, Sequence) and not isinstance(parts, str)
    if not is_list or not all(isinstance(part, str) and part for part in parts):
        raise UserError(f"{key}={parts!r}: must be a list of names such as [network.encoder]")
    return tuple(parts)


def _merged(group: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns a group with other values; another `_target_` replaces the group."""
    if changes is None:
        return dict(group)
    if changes.get("_target_", group.get("_target_")) != group.get("_target_"):
        return dict(changes)
    return {**group, **changes}
