"""Checks a composed configuration: every key is known and has a value, every value has the type of its default."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from partoken.composition import defaults_of, plain, plain_group, without_hydra
from partoken.errors import UserError, check_flag, did_you_mean
from partoken.overrides import keys_of_file, options
from partoken.resume_keys import CheckpointSettings, check_resume
from partoken.system.instantiation import instantiate
from partoken.system.nested import leaves
from partoken.system.targets import check_targets, trust
from partoken.trainer_arguments import check_trainer

__all__ = ["check_allowed", "check_composed", "check_phases", "check_single"]


TYPED_GROUPS = ("data", "model")
"""Groups whose values must have the types of their defaults; `train` names a class that checks its own, and Lightning
checks `trainer`."""

COMPLETE_GROUPS = ("data", "model", "train", "schedule", "trainer")
"""Groups of which no key may be taken out."""

FOR_JOBS = re.compile(r"launcher=(?!serial$).*|n_jobs=(?!1$).*")
"""Words of a command line that only the jobs of a sweep use."""

OPTIONAL_GROUPS = ("callbacks", "logger")
"""Groups that may be taken out."""


def check_allowed(cfg: DictConfig, words: Iterable[str]) -> None:
    """Lets `_target_` name what the command line allows; a file that names a class may not allow it itself."""
    allowed = cfg.get("allow_targets")
    if OmegaConf.is_list(allowed):
        allowed = OmegaConf.to_container(allowed)
    if allowed and not any(word.lstrip("+").startswith("allow_targets=") for word in words):
        raise UserError(f"allow_targets={allowed}: a file sets it; only the command line may, so leave it out there")
    trust(allowed)


def check_single(job: Any) -> None:
    """Rejects values for several jobs in a single run.

    Arguments:
        job: Hydra's own settings.
    """
    if not OmegaConf.is_missing(job.job, "num"):
        return
    chosen = job.runtime.choices.get("sweep", "default")  # by the primary config, an experiment or the command line
    words = [] if chosen == "default" else [f"sweep={chosen}"]
    given: Any = OmegaConf.to_container(job.overrides.task)  # a word may hold an interpolation
    words += [word for word in given if FOR_JOBS.fullmatch(word)]
    if words:
        raise UserError(f"{words[0]} is for several jobs: add -m, or leave it out for a single run")


def check_composed(cfg: DictConfig, overrides: Sequence[str], config_dir: str | os.PathLike[str] | None = None) -> None:
    """Checks every key and value of a composed config.

    Arguments:
        cfg: of a run; Hydra's own settings in it are ignored.
        overrides: with which it was composed.
        config_dir: a folder of the user with more YAML files.

    Raises:
        UserError: naming the key, what was found, and what is allowed.
    """
    defaults = defaults_of(overrides, config_dir)
    own = without_hydra(cfg)
    _check_complete(own, defaults)
    _check_presets(own.schedule)
    values = plain(own)
    check_targets(values)
    for group in (*TYPED_GROUPS, "train"):
        known = _known_leaves(defaults, group)
        for path, value in leaves(values[group], f"{group}."):
            if path in known:
                if group in TYPED_GROUPS:
                    _check_type(path, value, known[path])
            elif path.startswith("train.stages."):
                continue  # `TrainSettings` knows the keys of each kind of stage
            elif not any(path.startswith(f"{key}.") or key.startswith(f"{path}.") for key in known):
                # A mapping may replace a null, and a null or a list may replace a mapping.
                raise UserError(f"{path} is not a key of the configuration.{did_you_mean(path, known)}")
    instantiate(values["train"], "train")
    check_trainer(values["trainer"], values["train"])
    CheckpointSettings.read(values["checkpoint"])
    check_resume(values)
    check_phases(values)
    for name in ("print_config", "cost"):
        check_flag(name, values[name])


def _check_complete(cfg: DictConfig, defaults: DictConfig) -> None:
    """Rejects a key without a value: one that only the user can give, and one that `~KEY` has taken out.

    Arguments:
        cfg: the configuration of a run, without Hydra's own.
        defaults: of the same options.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise UserError(f"{missing[0]}: has no value; give it with {missing[0]}=VALUE")
    for key in map(str, cfg):
        if key not in defaults:
            raise UserError(f"{key} is not a key of the configuration.{did_you_mean(key, map(str, defaults))}")
    for key in map(str, defaults):
        if key not in cfg and key not in OPTIONAL_GROUPS:
            raise UserError(f"{key}: it has been taken out of the configuration; leave out ~{key}")
    for group in COMPLETE_GROUPS:
        if not OmegaConf.is_dict(cfg[group]):
            raise UserError(f"{group}={cfg[group]!r}: must be an option of {group}: {', '.join(options(group))}")
        if cfg[group].get("_target_") != defaults[group].get("_target_"):
            continue  # a class of the user's has keys of its own
        for key in map(str, defaults[group]):
            if key not in cfg[group]:
                raise UserError(f"{group}.{key}: it has been taken out of the configuration; leave out ~{group}.{key}")


def _check_presets(schedule: DictConfig) -> None:
    """Rejects a key of the group `schedule` that no segment reads.

    Arguments:
        schedule: the group, with its interpolations.
    """
    written = OmegaConf.to_yaml(schedule)
    for key in map(str, schedule):
        if key != "segments" and f"${{schedule.{key}}}" not in written:
            read = sorted(set(re.findall(r"\$\{schedule\.(\w+)\}", written)))
            known = f"it reads {', '.join(read)}" if read else "schedule=none takes a list of your own"
            raise UserError(f"schedule.{key}: no segment of the curve reads it, {known}.{did_you_mean(key, read)}")


def _known_leaves(defaults: DictConfig, group: str) -> dict[str, Any]:
    """Returns the defaults of a group by their full keys."""
    known = dict(leaves(plain_group(defaults, group), f"{group}."))
    if group != "train":
        return known
    # An experiment may not add a key that no file of the group has.
    listed = keys_of_file("train/default.yaml")
    return {path: value for path, value in known.items() if path.split(".")[1] in listed}


def _check_type(path: str, value: Any, default: Any) -> None:
    kinds: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,), list: (list,)}
    kind = type(default)
    if value is None or kind not in kinds:
        return
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{path}={value!r}: expected {kind.__name__}, as in its default {path}={default!r}")


def check_phases(groups: Mapping[str, Any]) -> None:
    """Checks whether there is something to do: the keys `fit` (on the command line `train=false`) and `test`.

    Arguments:
        groups: of the configuration; missing keys mean a run that trains and tests.

    Raises:
        UserError: nothing is left to do, or there is no checkpoint to test.
    """
    fit, test = groups.get("fit", True), groups.get("test", True)
    check_flag("train", fit)
    check_flag("test", test)
    if fit:
        return
    if not test:
        raise UserError("train=false and test=false: nothing is left to do; set one of them to true")
    if groups["train"].get("resume_from") is None:
        raise UserError(
            "train=false tests a checkpoint and none is given; set train.resume_from=RUN_FOLDER/checkpoints/best.ckpt"
        )
