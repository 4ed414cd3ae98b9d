"""Where a resumed run goes on: in which stage, from which checkpoint, and with which results of finished stages.

A finished stage leaves `checkpoints/NAME/` with `best.ckpt`, `last.ckpt` and `summary.json`, which is written last.
Every checkpoint holds the settings of its stage and of those before it. A resume compares them with the requested ones.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from partoken.errors import UserError
from partoken.schedule.length import Done
from partoken.system.checkpoint import read_checkpoint
from partoken.system.files import atomic_write, link_or_copy, write_json
from partoken.system.nested import changes
from partoken.training.forking import FORK_FILE, ends_fork, leaves_trunk
from partoken.training.module import task_class
from partoken.training.resumed_settings import check_resumed_settings, reached_limit
from partoken.training.saved_state import SavedState
from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage

__all__ = [
    "SetAside",
    "StageRecord",
    "Start",
    "begin_stage",
    "find_evaluated",
    "find_start",
    "finish_stage",
    "link_finished",
    "set_aside",
    "settings_of_stages",
    "stage_folder",
    "take_over",
]

log = logging.getLogger(__name__)

CHECKPOINT_KEY = "partoken_stages"
SUMMARY = "summary.json"
TABLES = ("lr.csv", "metrics.csv", FORK_FILE)

UNRELATED = {"resume_from", "on_schedule_change", "num_workers", "use_wandb", "wandb_project", "epochs", "stages"}
UNRELATED |= {"freeze", "stage_epochs"}
"""Keys of `train` that change no number of a stage, or that the stage replaces."""
TRAINER_KEYS = ["accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "precision"]
TRAINER_KEYS += ["limit_train_batches", "overfit_batches"]
"""Keys of `trainer` that change the numbers of a stage."""


@dataclass(frozen=True)
class Start:
    """Where a run begins."""

    number: int = 0
    """Number of the stage, from 0."""
    checkpoint: str | None = None
    """Checkpoint within the stage; None: the stage begins."""
    source: Path | None = None
    """Folder of the checkpoints of the resumed run; None: the run is new."""
    finished: tuple[dict[str, Any], ...] = ()
    """The parts of `summary.json` of the stages before."""
    state: SavedState | None = None
    """Of the checkpoint; None: the stage begins."""
    changed: tuple[str, ...] = ()
    """A phrase for each setting of the schedule that differs from the checkpoint's."""
    leaves_trunk: bool = False
    """Whether the run forks off the checkpoint."""

    def done(self, stage: int, accumulate: int) -> Done:
        """Returns what is done of a stage, by its number, up to the beginning of the current epoch.

        Arguments:
            stage: its number.
            accumulate: batches whose gradients make one step.
        """
        return Done() if self.state is None or stage != self.number else self.state.done(accumulate)


NEW = Start()
"""The beginning of a new run."""


def settings_of_stages(train: TrainSettings, groups: Mapping[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the settings that decide the numbers of each stage, by the name of the stage.

    Arguments:
        train: the train settings.
        groups: of the configuration, plain.
        folder: the run folder; its path may differ in a resumed run.
    """
    settings = {}
    for number, stage in enumerate(train.run_stages()):
        own = stage.groups(groups)
        values: dict[str, Any] = {"kind": f"{type(stage).__module__}.{type(stage).__qualname__}"}
        values |= {key: value for key, value in stage.settings.plain().items() if key not in UNRELATED}
        values |= {key: _plain(getattr(stage, key)) for key in stage.keys() if key not in ("model", "data")}
        values["optimizers"] = {name: dict(chosen) for name, chosen in train.optimizers_of(number).items()}
        for group in ("model", "data"):
            values |= {f"{group}.{key}": _without(folder, value) for key, value in own[group].items()}
        values |= {f"trainer.{key}": groups["trainer"].get(key) for key in TRAINER_KEYS}
        settings[stage.name] = values
    return settings


class StageRecord(pl.Callback):
    """Writes the settings of a stage, and of the stages before it, into each of its checkpoints.

    Arguments:
        stage: name of the stage.
        settings: of every stage of the run, in order; see `settings_of_stages`.
    """

    def __init__(self, stage: str, settings: Mapping[str, Mapping[str, Any]]) -> None:
        names = list(settings)
        known = names[: names.index(stage) + 1]
        self.content = {"stage": stage, "stages": {name: dict(settings[name]) for name in known}}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[CHECKPOINT_KEY] = self.content


class SetAside(pl.Callback):
    """Renames the summary of an earlier run in the folder when the training begins.

    Arguments:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            set_aside(self.folder)


def set_aside(folder: Path) -> None:
    """Renames the summary of an earlier run in a folder, if there is one.

    Arguments:
        folder: the run folder.
    """
    summary = folder / SUMMARY
    if summary.is_file():
        summary.replace(folder / "previous_summary.json")


def find_start(
    train: TrainSettings,
    stages: Sequence[TrainStage[TrainSettings]],
    settings: Mapping[str, Mapping[str, Any]],
    trainer: Mapping[str, Any],
) -> Start:
    """Returns where the run begins: at its first stage, or where `train.resume_from` goes on.

    Arguments:
        train: `resume_from` and `on_schedule_change` are read.
        stages: of the run.
        settings: of the stages, by name; see `settings_of_stages`.
        trainer: the `trainer` group of the configuration.

    Raises:
        UserError: the checkpoint cannot be used, has settings that a resume cannot change, or leaves nothing to train.
    """
    if train.resume_from is None:
        return NEW
    checkpoint = _read_resumed(train.resume_from)
    try:
        state = SavedState.read(checkpoint)
    except UserError as error:
        raise UserError(f"train.resume_from={train.resume_from}: {error}") from error
    start = _find_stage(train, stages, settings, checkpoint)
    if start.checkpoint is None:
        return start
    stage = stages[start.number]
    saved = checkpoint.get(CHECKPOINT_KEY, {}).get("stages", {}).get(stage.name, {})
    kind = task_class(settings[stage.name]["model._target_"])
    changed = check_resumed_settings(
        stage, saved, settings[stage.name], state, () if kind is None else kind.read_at_start
    )
    if train.forks:
        return _find_fork(train, replace(start, state=state, changed=changed))
    key = reached_limit(stage, trainer, state)
    if key and not _waits_for_its_test(start, stage.name):
        raise UserError(
            f"train.resume_from={train.resume_from}: the run is finished, nothing is left to train after "
            f"{state.epochs} epochs and {state.steps} steps; raise {key}, or test the checkpoint with train=false"
        )
    return replace(start, state=state, changed=changed)


def _read_resumed(path: str) -> dict[str, Any]:
    """Reads the checkpoint `train.resume_from`."""
    try:
        return read_checkpoint(path)
    except UserError as error:
        raise UserError(f"train.resume_from: {error}") from error


def _find_fork(train: TrainSettings, start: Start) -> Start:
    """Returns where a fork begins: where it leaves its trunk, or where it goes on itself."""
    state = start.state
    assert state is not None, "a fork goes on from a checkpoint"
    if leaves_trunk(train, state):
        own = ("train.schedule ", "train.schedule.")
        unused = [phrase for phrase in start.changed if not phrase.startswith(own)]
        if unused:
            log.warning("a fork has the rates of its trunk, so these have no effect: %s", "; ".join(unused))
        return replace(start, leaves_trunk=True)
    if ends_fork(state) and not _waits_for_its_test(start, ""):
        raise UserError(
            f"train.resume_from={train.resume_from}: the fork is finished, nothing is left to train after "
            f"{state.epochs} epochs and {state.steps} steps; fork its trunk, or test the checkpoint with train=false"
        )
    return start


def _find_stage(
    train: TrainSettings,
    stages: Sequence[TrainStage[TrainSettings]],
    settings: Mapping[str, Mapping[str, Any]],
    checkpoint: Mapping[str, Any],
) -> Start:
    """Returns the stage of a checkpoint, or the one after it if that is finished."""
    assert train.resume_from is not None
    saved = checkpoint.get(CHECKPOINT_KEY, {"stage": "", "stages": {"": {}}})
    number = _stage_number(train.resume_from, saved, [stage.name for stage in stages])
    for name in list(saved["stages"])[:number]:
        _check_unchanged(train.resume_from, name, saved["stages"][name], settings[name])
    source = _checkpoints_folder(Path(train.resume_from), saved["stage"])
    finished = tuple(_read_summary(train.resume_from, stage_folder(source, stage.name)) for stage in stages[:number])
    start = Start(number, train.resume_from, source, finished)
    name = stages[number].name
    summary = stage_folder(source, name) / SUMMARY
    if not name or not summary.is_file():
        return start
    part = json.loads(summary.read_text())
    if checkpoint["global_step"] != part["schedule"]["steps"] + part["schedule"]["skipped_steps"]:
        return start
    changed = changes(saved["stages"][name], settings[name])
    if not changed and number + 1 < len(stages):
        return Start(number + 1, None, source, (*finished, part))
    if changed and number and train.on_schedule_change == "error":
        log.info("stage %s begins again after stage %s: %s", name, stages[number - 1].name, "; ".join(changed))
        return replace(start, checkpoint=None)
    return start


def _waits_for_its_test(start: Start, stage: str) -> bool:
    """Returns whether the run was stopped between the training and the test of a stage."""
    assert start.source is not None
    is_tested = bool(stage) and (stage_folder(start.source, stage) / SUMMARY).is_file()
    folder = start.source.parent
    return (folder / "lr.csv").is_file() and not (folder / SUMMARY).is_file() and not is_tested


def find_evaluated(train: TrainSettings, stages: Sequence[TrainStage[TrainSettings]]) -> Start:
    """Returns the stage of the checkpoint `train.resume_from`, for a run that only tests it.

    Arguments:
        train: `resume_from` is read.
        stages: of the run.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    assert train.resume_from is not None, "`check_phases` asks for a checkpoint"
    saved = _read_resumed(train.resume_from).get(CHECKPOINT_KEY, {"stage": "", "stages": {"": {}}})
    number = _stage_number(train.resume_from, saved, [stage.name for stage in stages])
    source = _checkpoints_folder(Path(train.resume_from), saved["stage"])
    finished = tuple(_read_summary(train.resume_from, stage_folder(source, stage.name)) for stage in stages[:number])
    return Start(number, train.resume_from, source, finished)


def link_finished(start: Start, folder: Path) -> None:
    """Makes the finished stages of another run available in the run folder, where later stages find their files."""
    assert start.source is not None
    for part in start.finished:
        source, own = (stage_folder(place, part["name"]) for place in (start.source, folder / "checkpoints"))
        shutil.copytree(source, own, copy_function=_link, dirs_exist_ok=True)


def take_over(start: Start, folder: Path) -> None:
    """Copies what a resumed run needs into another run folder: its tables, its checkpoints, its finished stages.

    Arguments:
        start: of the resumed run.
        folder: the run folder.

    Raises:
        OSError: a file cannot be read or written.
    """
    target = folder / "checkpoints"
    if start.leaves_trunk:
        (target / "best.ckpt").unlink(missing_ok=True)  # of a fork that was killed before its first last.ckpt
    if start.source is None or start.source.resolve() == target.resolve():
        return
    target.mkdir(parents=True, exist_ok=True)
    tables = _tables_folder(start)
    for name in TABLES:
        table = tables / name
        if table.is_file():
            with open(table, "rb") as content, atomic_write(folder / name, "wb") as file:
                shutil.copyfileobj(content, file)
    link_finished(start, folder)
    if start.checkpoint is None:
        last, best = (stage_folder(target, start.finished[-1]["name"]) / name for name in ("last.ckpt", "best.ckpt"))
    else:
        last, best = Path(start.checkpoint), start.source / "best.ckpt"
    link_or_copy(last, target / "last.ckpt")
    if best.is_file() and not start.leaves_trunk:  # the best checkpoint of a fork is its own
        link_or_copy(best, target / "best.ckpt")


def _tables_folder(start: Start) -> Path:
    """Returns the run folder of the checkpoint, which a callback may have written deep in the folder `checkpoints`."""
    assert start.source is not None
    places = Path(start.checkpoint or "").parents
    return next((place.parent for place in places if place.name == "checkpoints"), start.source.parent)


def stage_folder(checkpoints: Path, stage: str) -> Path:
    """Returns the folder of a stage's checkpoints; a run without named stages has no folder of its own for them."""
    return checkpoints / stage


def begin_stage(checkpoints: Path, stage: str, *, is_first: bool) -> None:
    """Removes the best checkpoint of another stage, and results of this stage that will be replaced.

    Arguments:
        checkpoints: the folder with `best.ckpt`.
        stage: its name.
        is_first: True for the first stage of the run, which does not need the last checkpoint of the stage before; one
            of an earlier run in the folder must not be taken for its own.
    """
    for name in ("best.ckpt", "last.ckpt") if is_first else ("best.ckpt",):
        (checkpoints / name).unlink(missing_ok=True)
    if stage:
        shutil.rmtree(stage_folder(checkpoints, stage), ignore_errors=True)


def finish_stage(checkpoints: Path, stage: str, best: Path, summary: Mapping[str, Any]) -> None:
    """Keeps the checkpoints of a finished stage, which the next one overwrites, and marks it as finished.

    Arguments:
        checkpoints: the folder with `last.ckpt`.
        stage: its name; a stage without a name keeps nothing.
        best: the tested checkpoint.
        summary: its part of `summary.json`.
    """
    if not stage:
        return
    own = stage_folder(checkpoints, stage)
    link_or_copy(best, own / "best.ckpt")
    link_or_copy(checkpoints / "last.ckpt", own / "last.ckpt")
    write_json(own / SUMMARY, dict(summary))


def _stage_number(path: str, saved: Mapping[str, Any], names: Sequence[str]) -> int:
    """Returns the number of the checkpoint's stage in this run, whose earlier stages must be the same."""
    theirs, ours = list(saved["stages"]), list(names)
    if ours[: len(theirs)] == theirs:
        return len(theirs) - 1
    described = [f"stages {', '.join(known)}" if known != [""] else "no stages" for known in (theirs, ours)]
    raise UserError(
        f"train.resume_from={path}: the checkpoint was written in a run with {described[0]}, this run has "
        f"{described[1]}; ask for the same train.stages up to stage {theirs[-1] or 1}"
    )


def _checkpoints_folder(path: Path, stage: str) -> Path:
    """Returns the folder `checkpoints` of the run that wrote a checkpoint."""
    return path.parent.parent if stage and path.parent.name == stage else path.parent


def _read_summary(path: str, folder: Path) -> dict[str, Any]:
    """Reads the part of a finished stage."""
    summary = folder / SUMMARY
    if not summary.is_file():
        raise UserError(
            f"train.resume_from={path}: the results of its finished stage {folder.name} are not there, "
            f"{summary} is missing; keep the folder of the run whole"
        )
    content: dict[str, Any] = json.loads(summary.read_text())
    return content


def _check_unchanged(path: str, name: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Rejects other settings of a finished stage."""
    if differing := changes(theirs, ours):
        raise UserError(
            f"train.resume_from={path}: stage {name} is finished and is not trained again, but its settings changed: "
            f"{'; '.join(differing)}; ask for the same settings, or start a new run with train.resume_from=null"
        )


def _without(folder: Path, value: Any) -> Any:
    """Returns a value without the path of the run folder at its beginning."""
    return value.removeprefix(str(folder)) if isinstance(value, str) else value


def _link(source: str, path: str) -> None:
    link_or_copy(Path(source), Path(path))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
