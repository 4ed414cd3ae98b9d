"""What the words of a command line choose, before Hydra reads them; imports no torch."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException

from partoken.errors import UserError

__all__ = [
    "CONF",
    "check_config_dir",
    "check_group_choices",
    "choices_of_defaults",
    "name_fit",
    "options",
]


def _find_conf() -> Path:
    """Returns conf/: inside an installed package, beside the package in a clone."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


CONF = _find_conf()

TRAIN_SWITCH = re.compile(r"train=((?:true|false)(?:,(?:true|false))*)", re.IGNORECASE)
"""`train=false`, where `train` is no group but says whether the run trains: the key `fit`."""


def name_fit(words: Sequence[str]) -> list[str]:
    """Returns overrides, and Hydra's options, with `fit=false` in place of `train=false`: `train` is also a group.

    >>> name_fit(["train=false", "train.lr=0.1", "train=default", "train=true,false"])
    ['fit=false', 'train.lr=0.1', 'train=default', 'fit=true,false']
    """
    return [TRAIN_SWITCH.sub(r"fit=\1", word) if TRAIN_SWITCH.fullmatch(word) else word for word in words]


def check_config_dir(config_dir: str | os.PathLike[str] | None) -> None:
    """Rejects a folder that does not exist, and a file in it that Hydra would ignore without a word."""
    if config_dir is None:
        return
    folder = Path(config_dir)
    if not folder.is_dir():
        raise UserError(f"--config-dir={config_dir}: no such folder")
    for file in sorted(CONF.rglob("*.yaml")):
        name = file.relative_to(CONF)
        if (folder / name).exists():
            raise UserError(
                f"{folder / name}: {file} has the same name and would be used instead; rename your file, or use "
                f"--config-path={folder.resolve()} if the folder is a complete conf/ of your own"
            )


def check_group_choices(overrides: Sequence[str]) -> None:
    """Rejects a group without an option, for which Hydra raises an error of its own."""
    for word in _group_choices(overrides):
        group, _, option = word.lstrip("+").partition("=")
        if option.strip() in ("", "null", "None") and not word.startswith("~"):
            listed = ", ".join(options(group))
            raise UserError(f"{word}: choose an option of {group}: {listed}; or leave {group} out")


def choices_of_defaults(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides that find the defaults: choices of options, and where to look for options.

    A sweep over options counts as its first option.
    """
    choices = [_first_option(word) for word in _group_choices(overrides)]
    return [*choices, *(word for word in overrides if word.startswith("hydra.searchpath="))]


def options(group: str, config_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Returns the names of the options of a config group, with those of a folder of the user."""
    folders = [CONF] if config_dir is None else [CONF, Path(config_dir)]
    return sorted(file.stem for folder in folders for file in (folder / group).glob("*.yaml"))


def _group_choices(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides that choose an option of a config group."""
    return [word for word in overrides if (CONF / word.lstrip("+").split("=")[0].split("@")[0]).is_dir()]


def _first_option(word: str) -> str:
    """Returns the choice of a group's option that the first job of a sweep makes."""
    try:
        choice = OverridesParser.create().parse_override(word)
    except HydraException:
        return word  # the error is explained where the whole configuration is composed
    if not choice.is_sweep_override():
        return word
    value = choice.value()
    found = value.filter(options(choice.key_or_group)) if isinstance(value, Glob) else choice.sweep_string_iterator()
    return next((f"{choice.get_key_element()}={option}" for option in found), word)
