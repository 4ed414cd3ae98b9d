"""A fork: a run that goes on from a checkpoint of its trunk with a schedule of its own, in a folder of its own.

Its length follows from its schedule, its facts about the trunk are in `fork.json` in its folder, and nothing is written
into the folder of the trunk.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from partoken.errors import UserError
from partoken.resume_keys import AUTO, LATEST, forks_off
from partoken.schedule import Plan, RunLength, fork_plan
from partoken.schedule.fork import forked_at
from partoken.system.checkpoint import read_checkpoint
from partoken.system.files import write_json
from partoken.training.saved_state import SavedState
from partoken.training.settings import TrainSettings

__all__ = ["FORK_FILE", "check_fork_limits", "check_own_folder", "count_in_steps", "ends_fork", "fork_facts"]
__all__ += ["fork_trainer", "leaves_trunk", "write_fork"]

FORK_FILE = "fork.json"
"""In the folder of a fork: its trunk, where it left it, and how good the trunk was."""


def leaves_trunk(train: TrainSettings, state: SavedState) -> bool:
    """Returns whether a run forks off a checkpoint; False: it is no fork, or goes on with one."""
    return train.forks and not any(forked_at(plan) for plan in _plans(state).values())


def ends_fork(state: SavedState) -> bool:
    """Returns whether the checkpoint of a fork is the one at its end."""
    return any(
        forked_at(plan) and plan.time(state.schedules[name]["step"], state.epochs) >= plan.length
        for name, plan in _plans(state).items()
    )


def check_own_folder(groups: Mapping[str, Any], folder: Path) -> None:
    """Rejects the folder of the trunk as the folder of a fork.

    Arguments:
        groups: of the configuration, plain.
        folder: the run folder, to which nothing has been written yet.

    Raises:
        UserError: naming the folder.
    """
    train, resume = groups["train"], groups.get("resume")
    if not forks_off(train.get("schedule")) or (folder / FORK_FILE).is_file():
        return
    source = folder / "checkpoints" if resume in (AUTO, LATEST) else Path(resume or train.get("resume_from") or "")
    if source.exists() and source.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"hydra.run.dir={folder}: is the folder of the trunk, which a fork leaves as it is; choose another folder"
        )


def check_fork_limits(train: TrainSettings, trainer: Mapping[str, Any]) -> None:
    """Rejects limits of the trainer that would decide the length of a fork.

    Arguments:
        train: the train settings.
        trainer: the `trainer` group of the configuration.

    Raises:
        UserError: naming the limit.
    """
    usual = {"max_epochs": train.epochs, "max_steps": -1, "min_epochs": None, "min_steps": None}
    for key, value in usual.items():
        if trainer.get(key, value) not in (value, -1):
            raise UserError(
                f"trainer.{key}={trainer[key]}: {train.segments_key} decides the length of a fork; leave it out"
            )


def fork_trainer(
    train: TrainSettings, trainer: Mapping[str, Any], state: SavedState, num_batches: int | None
) -> dict[str, Any]:
    """Returns the `trainer` group with the epochs of a fork; `EndAtStep` ends one that moves by step within the last.

    Arguments:
        train: the train settings.
        trainer: the group of the configuration.
        state: of the checkpoint.
        num_batches: training batches of an epoch on each device; None: unknown.

    Raises:
        UserError: the fork cannot be planned.
    """
    done = state.done(trainer.get("accumulate_grad_batches", 1))
    steps_per_epoch = RunLength.of_trainer(trainer, num_batches).steps_per_epoch
    lengths = set[tuple[str, int]]()
    for name, saved in _plans(state).items():
        step = state.schedules[name]["step"]
        plan = fork_plan(saved, train, step=step, epoch=state.epochs, steps_per_epoch=steps_per_epoch)
        lengths.add((plan.interval, int(plan.length) - plan.time(step, state.epochs)))
    if len(lengths) > 1:
        raise UserError(
            f"{train.segments_key}: the optimizers of the trunk would go on for different lengths; give the lengths in "
            "steps, or in epochs if the rates moved by epoch"
        )
    assert lengths, "a run with a scheduler of torch has no plan, and cannot be resumed without that scheduler"
    unit, left = lengths.pop()
    if unit == "epoch":
        return {**trainer, "max_epochs": state.epochs + left}
    # With `max_steps`, Lightning would begin with an empty epoch after a checkpoint at the end of one.
    length = RunLength.count(epochs=None, max_steps=state.steps + left, steps_per_epoch=steps_per_epoch, done=done)
    return {**trainer, "max_epochs": length.total_epochs or -1}


def count_in_steps(checkpoint: Mapping[str, Any], state: SavedState) -> None:
    """Makes the saved schedulers of a constant rate count optimizer steps, as a fork does, in place of epochs.

    Arguments:
        checkpoint: of the trunk; its schedulers are changed.
        state: of the checkpoint.
    """
    for saved, schedule in zip(checkpoint["lr_schedulers"], state.schedules.values(), strict=True):
        if schedule["plan"]["curve"] is None:
            saved["last_epoch"] = schedule["step"]
            for plan in (saved["plan"], *saved.get("group_plans", ())):
                plan["interval"] = "step"


def write_fork(folder: Path, train: TrainSettings, state: SavedState) -> None:
    """Writes `fork.json`, unless the folder is that of the fork already.

    Arguments:
        folder: of the fork.
        train: the train settings.
        state: of the checkpoint.
    """
    if (folder / FORK_FILE).is_file():
        return
    assert train.resume_from is not None
    kept = read_checkpoint(train.resume_from)["callbacks"].values()
    scores = [own.get("best_model_score") for own in kept if own.get("monitor") == train.monitor]
    best = next((float(score) for score in scores if score is not None), None)
    step = next(iter(state.schedules.values()))["step"]
    monitor = {"name": train.monitor, "best": best}
    write_json(
        folder / FORK_FILE, {"trunk": train.resume_from, "step": step, "epochs": state.epochs, "monitor": monitor}
    )


def fork_facts(folder: Path, train: TrainSettings, part: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `summary.json` says of a fork, under the key `fork`; {} for another run.

    Arguments:
        folder: the run folder.
        train: the train settings.
        part: of the summary, of the only stage.
    """
    if not train.forks:
        return {}
    fork = json.loads((folder / FORK_FILE).read_text())
    before, after = fork["monitor"]["best"], part["monitor"]["best"]
    gained = None
    if before is not None and after is not None:
        gained = (float(after) - before) * (1 if train.monitor_mode == "max" else -1)
    facts = part["schedule"]
    taken = next(iter(facts.get("optimizers", {"": facts}).values()))["steps"]
    return {"fork": {**fork, "steps": taken - fork["step"], "gained": gained}}


def _plans(state: SavedState) -> dict[str, Plan]:
    """Returns the saved plan of each optimizer."""
    return {name: Plan.from_fingerprint(own["plan"]) for name, own in state.schedules.items() if own["plan"]}
