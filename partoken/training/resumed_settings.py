"""What may differ between a run and its resume: its settings, its length and its plan.

A change takes effect from the checkpoint on, or the resume is refused before anything is trained.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from partoken.config import PATH_KEYS
from partoken.errors import UserError
from partoken.schedule import Plan, RunLength, ScheduleSettings, explain_change, fork_plan
from partoken.schedule.extending import begun_decay, count
from partoken.system.nested import changes
from partoken.training.saved_state import SavedState
from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage

__all__ = ["check_resumed_settings", "choose_plan", "reached_limit", "saved_plan"]

log = logging.getLogger(__name__)

FIXED = (
    *("kind", "optimizer", "no_weight_decay", "seed", "scheduler", "weights_from"),
    *("monitor", "monitor_mode", "model._target_"),
)
"""Settings that cannot change within a stage: its saved states belong to them, or only its beginning reads them."""

OF_THE_GROUPS = ("match", "layer_decay", "no_weight_decay")
"""Settings of `train.groups` that cannot change within a stage, because they decide which parameters a group has."""

WITHOUT_GROUPS = {"groups": None, "no_weight_decay": "biases_and_norms"}
"""Settings of a checkpoint of a version that had no groups."""

OF_A_SCHEDULER = ("lr", "schedule_interval", "lr_scaling")
"""Settings that cannot change with `train.scheduler`, whose saved state holds their effect."""

OF_SCALED_RATES = ("lr_scaling_base_batch", "batch_size", "trainer.accumulate_grad_batches")
"""Settings that cannot change with `train.scheduler` and `train.lr_scaling`."""

WITHIN_AN_EPOCH = ("trainer.accumulate_grad_batches", "trainer.limit_train_batches", "trainer.overfit_batches")
"""Settings that cannot change within an epoch, because they decide its steps."""

OF_THE_PLAN = (*(item.name for item in fields(ScheduleSettings)), "factor", "epochs", "steps")
"""Settings that decide the plan, without those that decide the steps of an epoch."""

LOADING = (
    *PATH_KEYS["data"],
    *("max_residues_per_batch", "epochs_per_pass", "passes_per_epoch", "augment"),
    *("max_skipped", "baselines", "memory_limit_mb"),
)
"""Keys of `data` that may change: they change neither the labels nor the splits, if the files are the same."""

LENGTH_KEYS = "train.epochs, train.batch_size, trainer.accumulate_grad_batches and the limits of the trainer"

EFFECTS = {
    "keep": "keep (follow the saved plan)",
    "extend": "extend (follow the requested plan from here)",
}
"""Values of `train.on_schedule_change` that continue, each with what it does."""


def check_resumed_settings(
    stage: TrainStage[TrainSettings],
    saved: Mapping[str, Any],
    requested: Mapping[str, Any],
    state: SavedState,
    at_start: Collection[str] = (),
) -> tuple[str, ...]:
    """Rejects other values of settings that cannot change within a stage, and logs the other changes.

    A setting that the checkpoint does not hold, because it is of an older version, is not compared.

    Arguments:
        stage: that goes on.
        saved: its settings in the checkpoint; see `settings_of_stages`.
        requested: its settings now.
        state: of the checkpoint.
        at_start: keys of `model` that only the beginning of a training reads.

    Returns:
        A phrase for each change of which `choose_plan` decides whether it takes effect.

    Raises:
        UserError: naming each key, its saved and its requested value.
    """
    applied, refused, of_plan = list[str](), list[str](), list[str]()
    for name, theirs in {**(WITHOUT_GROUPS if saved else {}), **saved}.items():
        found = changes({_key(stage, name): theirs}, {_key(stage, name): requested.get(name)})
        is_fixed = _is_fixed(name, stage, saved, requested, state, at_start)
        for phrase in found:
            key = phrase.split()[0].rpartition(".")[2]
            if is_fixed or _is_fixed_inside(name, key, saved, requested):
                refused.append(phrase)
            else:
                (of_plan if {key, name} & set(OF_THE_PLAN) else applied).append(phrase)
    if not refused:
        if applied:
            log.info("other settings from here: %s", "; ".join(applied))
        return tuple(of_plan)
    source = stage.settings.resume_from
    place = f", after {state.batches} batches of an epoch" if state.batches else ""
    raise UserError(
        f"train.resume_from={source}{place}: {'; '.join(refused)}. A resumed run cannot change that: ask for the saved "
        f"value, or start a new run with these weights, train.resume_from=null train.weights_from={source}"
    )


def reached_limit(stage: TrainStage[TrainSettings], trainer: Mapping[str, Any], state: SavedState) -> str:
    """Returns the key of the limit that a checkpoint has reached; "" if its stage has something left to train.

    Arguments:
        stage: that goes on.
        trainer: the `trainer` group of the configuration.
        state: of the checkpoint.

    Raises:
        UserError: the checkpoint is already longer than the stage shall be.
    """
    length = stage.length(RunLength.of_trainer(trainer, None))
    follows = trainer.get("max_epochs") == stage.settings.epochs
    epochs_key = f"{stage.path}.epochs" if stage.has_length or follows else "trainer.max_epochs"
    steps_key = f"{stage.path}.steps" if stage.has_length else "trainer.max_steps"
    started = state.epochs + bool(state.batches)
    reached = ""
    for key, unit, taken, limit, is_whole in (
        (epochs_key, "epochs", started, length.total_epochs, not state.batches),
        (steps_key, "steps", state.steps, length.total_steps, True),
    ):
        if limit is None or taken < limit:
            continue
        if taken > limit:
            raise UserError(
                f"train.resume_from={stage.settings.resume_from}: the checkpoint has {taken} {unit} "
                f"and {key}={limit}; set it above {taken}, or resume from an earlier checkpoint"
            )
        reached = reached or (key if is_whole else "")
    return reached


def choose_plan(
    saved: Mapping[str, Any] | None,
    requested: Plan,
    epochs: int,
    train: TrainSettings,
    changed: Collection[str] = (),
) -> tuple[Plan, str]:
    """Decides which plan a resumed stage follows.

    Arguments:
        saved: `step` and `plan` of the optimizer in the checkpoint; None: it has none.
        requested: over the length that the stage will really have.
        epochs: whole epochs in the checkpoint.
        train: `resume_from` and `on_schedule_change` are read.
        changed: a phrase for each changed setting, for the message.

    Returns:
        The plan, and how the requested plan differs from the saved one; "" if it does not.

    Raises:
        UserError: the plans differ, and `train.on_schedule_change` is "error" or asks for what cannot be.
    """
    if saved is None or saved["plan"] is None:
        return requested, ""
    source, decision = f"train.resume_from={train.resume_from}", train.on_schedule_change
    if "stages" in saved["plan"]:
        raise UserError(
            f"{source}: its stages shared one optimizer, as in an older version; this version "
            "gives each stage its own. Finish the run with the older version, or start it again"
        )
    plan = Plan.from_fingerprint(saved["plan"])
    lengths = {name: getattr(requested, name) for name in ("total_epochs", "total_steps", "steps_per_epoch")}
    if train.forks:
        own = fork_plan(plan, train, step=saved["step"], epoch=epochs, steps_per_epoch=requested.steps_per_epoch)
        return replace(own, **{**lengths, **({"total_steps": int(own.length)} if own.interval == "step" else {})}), ""
    change = explain_change(plan, requested, step=saved["step"], epoch=epochs)
    if not change:
        return requested, ""
    time = plan.time(saved["step"], epochs)
    obstacles = {"keep": _obstacle_to_keep(plan, requested), "extend": _obstacle_to_extend(plan, requested, time)}
    allowed = [EFFECTS[name] for name, obstacle in obstacles.items() if not obstacle]
    decide = f", or decide with train.on_schedule_change={' or ='.join(allowed)}" if allowed else ""
    length = "" if not obstacles["keep"] else f" ({LENGTH_KEYS} decide its length)"
    fix = f"ask for the saved plan{length}{decide}"
    if decision == "error":
        settings = f": {'; '.join(changed)}" if changed else ""
        raise UserError(f"{source} was made with another schedule{settings}\n{change}\n{fix}")
    if obstacles[decision]:
        raise UserError(f"train.on_schedule_change={decision}: {obstacles[decision]}\n{change}\n{fix}")
    if decision == "extend":
        return requested, change
    return replace(plan, **lengths), change


def _obstacle_to_keep(saved: Plan, requested: Plan) -> str:
    """Returns why a run cannot follow the saved plan to its end; "" if it can."""
    unit = saved.interval
    taken = requested.total_steps if unit == "step" else requested.total_epochs
    if saved.curve is None or saved.curve.total == taken:
        return ""
    ends = f"the saved plan ends after {count(saved.curve.total, unit)}"
    return f"{ends}, this run after {'an unknown number' if taken is None else count(taken, unit)}"


def _obstacle_to_extend(saved: Plan, requested: Plan, time: float) -> str:
    """Returns why a run cannot change to the requested plan at a time of the saved one; "" if it can."""
    if saved.interval == requested.interval:
        return begun_decay(saved, requested, time)
    return (
        f"train.schedule_interval was {saved.interval} and is {requested.interval}, which a resumed run cannot change"
    )


def saved_plan(schedule: Mapping[str, Any] | None, group: str) -> Mapping[str, Any] | None:
    """Returns `step` and `plan` of one of `train.groups` in a checkpoint.

    Arguments:
        schedule: of an optimizer in the checkpoint; None: it has none.
        group: name of the group; "" for the parameters without a group.
    """
    if schedule is None or not group:
        return schedule
    return {"step": schedule["step"], "plan": schedule.get("groups", {}).get(group)}


def _is_fixed_inside(name: str, key: str, saved: Mapping[str, Any], requested: Mapping[str, Any]) -> bool:
    """Returns whether a key of one of the optimizers or groups cannot change within a stage."""
    if name == "optimizers":
        return key in ("optimizer", "no_weight_decay")
    if name == "groups":
        has_scheduler = saved.get("scheduler") is not None and requested.get("scheduler") is not None
        return key in OF_THE_GROUPS or (has_scheduler and key in ("lr", "factor"))
    return False


def _is_fixed(
    name: str,
    stage: TrainStage[TrainSettings],
    saved: Mapping[str, Any],
    requested: Mapping[str, Any],
    state: SavedState,
    at_start: Collection[str],
) -> bool:
    """Returns whether a setting cannot change within a stage."""
    if name in FIXED or (state.batches and name in WITHIN_AN_EPOCH):
        return True
    if name.startswith("data."):
        return name.removeprefix("data.") not in LOADING
    if name.startswith("model."):
        return name.removeprefix("model.") in at_start
    if name in stage.keys() and name not in TrainStage.keys():
        return True  # a key of its kind, which prepares its beginning
    has_scheduler = saved.get("scheduler") is not None and requested.get("scheduler") is not None
    is_scaled = "linear" in (saved.get("lr_scaling"), requested.get("lr_scaling"))
    return has_scheduler and (name in OF_A_SCHEDULER or (is_scaled and name in OF_SCALED_RATES))


def _key(stage: TrainStage[TrainSettings], name: str) -> str:
    """Returns the configuration key of a setting, such as `train.stages.joint.lr`."""
    if name.startswith(("data.", "model.", "trainer.")):
        return name
    return f"{stage.path}.{name}" if name in stage.keys() else stage.settings.key(name)
