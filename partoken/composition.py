"""The configuration as Hydra composes it from the files in conf/ and overrides; imports no torch."""

import functools
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from partoken.errors import UserError, did_you_mean
from partoken.overrides import CONF, choices_of_defaults, options
from partoken.system.nested import leaves
from partoken.system.ranks import start_of_run

__all__ = [
    "PREVIEW_FOLDER",
    "PRIMARY",
    "compose_unchecked",
    "defaults_of",
    "explain",
    "open_stages",
    "plain",
    "plain_group",
    "without_hydra",
]


PRIMARY = "config_partoken"

PREVIEW_FOLDER = "RUN_FOLDER"
"""The run folder in a configuration that no run has."""

STAGE_OVERRIDE = re.compile(r"train\.stages\.(\w+)\.")


def _run_folder() -> str:
    """Returns the folder of the current run; a preview has none."""
    return str(HydraConfig.get().runtime.output_dir) if HydraConfig.initialized() else PREVIEW_FOLDER


def _start_folder() -> str:
    """Returns the folder in which the command was started, also if `hydra.job.chdir` has left it."""
    return str(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else os.getcwd()


OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
OmegaConf.register_new_resolver("start_folder", _start_folder, replace=True)


def _start(pattern: str) -> str:
    """Formats the time at which the run was started, the same in all its processes; Hydra's `now` differs."""
    return time.strftime(pattern, time.localtime(start_of_run()[0]))


OmegaConf.register_new_resolver("start", _start, use_cache=True, replace=True)
OmegaConf.register_new_resolver("unique", lambda: start_of_run()[1], use_cache=True, replace=True)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Returns the config as plain values, interpolations resolved."""
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def plain_group(cfg: DictConfig, group: str) -> dict[str, Any]:
    """Returns a group of the config as plain values, interpolations resolved."""
    return plain(cfg[group])


def without_hydra(cfg: DictConfig) -> DictConfig:
    """Returns the config without Hydra's own settings."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]) if "hydra" in cfg else cfg


def compose_unchecked(
    overrides: Sequence[str],
    config_dir: str | os.PathLike[str] | None = None,
    config_path: str = str(CONF),
    config_name: str | None = None,
    *,
    with_hydra: bool = False,
) -> DictConfig:
    """Composes a config as Hydra does, and checks nothing.

    Arguments:
        overrides: `key=value` and `group=option`.
        config_dir: a folder of the user with more YAML files.
        config_path: the folder of the primary config.
        config_name: the primary config; None: `PRIMARY`.
        with_hydra: also returns Hydra's own settings, under the key `hydra`.
    """
    primary = config_name or PRIMARY
    if GlobalHydra.instance().is_initialized():
        return hydra.compose(primary, list(overrides), return_hydra_config=with_hydra)
    version.setbase("1.3")
    search_path = create_config_search_path(config_path)
    if config_dir is not None:  # as Hydra does for --config-dir
        search_path.prepend("command-line", f"file://{Path(config_dir).resolve()}", SearchPathQuery(provider="schema"))
    Hydra.create_main_hydra2("partoken", search_path)
    try:
        return hydra.compose(primary, list(overrides), return_hydra_config=with_hydra)
    finally:
        GlobalHydra.instance().clear()


def defaults_of(overrides: Sequence[str], config_dir: str | os.PathLike[str] | None) -> DictConfig:
    """Returns the defaults of the options that overrides choose."""
    return _compose_defaults(
        tuple(choices_of_defaults(overrides)), None if config_dir is None else os.fspath(config_dir)
    )


@functools.cache
def _compose_defaults(choices: tuple[str, ...], config_dir: str | None) -> DictConfig:
    """Composes defaults once, because a sweep checks all its jobs against them."""
    return compose_unchecked(choices, config_dir)


def open_stages(words: Sequence[str], config_dir: str | os.PathLike[str] | None) -> list[str]:
    """Lets overrides set keys of a known stage that its file does not list; `TrainSettings` checks these keys.

    Arguments:
        words: overrides, and Hydra's options.
        config_dir: a folder of the user with more YAML files.
    """
    if not any(STAGE_OVERRIDE.match(word) for word in words):
        return list(words)
    try:
        stages = defaults_of(words, config_dir).train.stages or {}
    except (HydraException, OmegaConfBaseException):
        return list(words)  # the error is explained where the whole configuration is composed
    known = [match and match.group(1) in stages for match in map(STAGE_OVERRIDE.match, words)]
    return [f"++{word}" if is_known else word for word, is_known in zip(words, known, strict=True)]


def explain(error: BaseException, overrides: Sequence[str], config_dir: str | os.PathLike[str] | None = None) -> str:
    """Returns an error of Hydra as one message that names the closest key or option."""
    if isinstance(error.__cause__, UserError):
        return str(error.__cause__)
    text = str(error)
    if several := re.search(r"Ambiguous value for argument '(.+)'", text):
        word = several.group(1)
        key, _, values = word.partition("=")
        return f"{word}: several values are a sweep, with -m; a list is written {key}=[{values}]"
    if place := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"+{place.group(1)}: {place.group(1)} is a key already; leave out the +"
    if unknown := re.search(r"Could not (?:override|delete from config\.) '([^']+)'(?: does not exist|\.)", text):
        key = unknown.group(1)
        return f"{key} is not a key of the configuration.{did_you_mean(key, _default_keys(overrides, config_dir))}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and "/" in error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        known = error.options or options(group, config_dir)  # Hydra lists none for an option in a list
        return f"{group}={name}: no such option, choose from {', '.join(known)}.{did_you_mean(name, known)}"
    if place := re.search(r"full_key: (\S+)", text):
        return f"{place.group(1)}: {text.splitlines()[0]}; correct it, or leave it out"
    return " ".join(f"{text} {error.__cause__ or ''}".split())


def _default_keys(overrides: Sequence[str], config_dir: str | os.PathLike[str] | None) -> list[str]:
    """Returns every key of the chosen options; none if they cannot be composed, as when an option is wrong too."""
    try:
        defaults = OmegaConf.to_container(defaults_of(overrides, config_dir), resolve=False)
    except (HydraException, OmegaConfBaseException):
        return []
    assert isinstance(defaults, dict)
    return [path for path, _ in leaves(defaults)]
