"""What the words of a command line choose, before Hydra reads them; imports no torch."""

import argparse
import functools
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from partoken.errors import UserError, did_you_mean

__all__ = [
    "CONF",
    "check_config_dir",
    "check_overrides",
    "choices_of_defaults",
    "keys_of_file",
    "name_fit",
    "options",
    "parse_arguments",
    "parse_overrides",
    "quote",
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


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Separates overrides from Hydra's options, such as `-m` and `--config-dir`.

    Raises:
        UserError: an unknown option, an option without its value, or options between overrides.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; partoken train --hydra-help lists the options")

    parser.error = refuse  # type: ignore[method-assign]
    given, further = parser.parse_known_args(list(arguments))
    if not further:
        return given
    if further[0].startswith("-"):
        known = [flag for action in parser._actions for flag in action.option_strings]
        raise UserError(
            f"{further[0]}: no such option; partoken train --hydra-help lists them, and a key has no dashes."
            f"{did_you_mean(further[0], known)}"
        )
    first = list(arguments).index(further[0])
    option = next(word for word in reversed(arguments[:first]) if word.startswith("-"))
    raise UserError(f"{further[0]}: comes after {option}, which stands between overrides; give {option} before all")


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """Returns overrides as Hydra reads them.

    Raises:
        UserError: naming the word that is not in Hydra's grammar, and how to quote it.
    """
    parser = OverridesParser.create()
    parsed = []
    for word in words:
        try:
            parsed.append(parser.parse_override(word))
        except HydraException:
            raise UserError(_ungrammatical(word)) from None
    return parsed


def _ungrammatical(word: str) -> str:
    """Returns what is wrong with a word that is not in Hydra's grammar, and the fix."""
    key, equals, value = word.partition("=")
    if not re.fullmatch(r"(\+{0,2}|~)[\w./@:-]*\w", key) or ".." in key:
        return f"{word!r}: is no override; write KEY=VALUE, such as train.lr=1e-3"
    if not equals and (CONF / key.lstrip("+")).is_dir():
        return f"{word}: choose an option: {', '.join(f'{key}={name}' for name in options(key.lstrip('+')))}"
    if not equals:
        return f"{word}: has no value; write {word}=VALUE"
    if value.startswith(("[", "{")):
        return f"{word}: the value is no list and no mapping; check its brackets, commas and quotes"
    text = value.strip("'\"").replace('"', '\\"')
    quoted = shlex.quote(f'{key}="{text}"')
    return f"{word}: a value with such characters needs quotes inside those of the shell: {quoted}"


def quote(text: str) -> str:
    """Returns a text as a value in Hydra's grammar.

    >>> print(quote("it's here/a=b"))
    'it\\'s here/a=b'
    """
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


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


def check_overrides(overrides: Sequence[str]) -> None:
    """Rejects words that are no overrides, and a group without an option."""
    choices = _group_choices(overrides)
    for word, item in zip(overrides, parse_overrides(overrides), strict=True):
        group = item.key_or_group
        if not group:
            raise UserError(f"{word}: has no key; write KEY=VALUE, such as train.lr=1e-3")
        if word not in choices or item.is_sweep_override():
            continue
        if not isinstance(item.value(), str | list | dict) or not item.value():
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


@functools.cache
def keys_of_file(name: str) -> frozenset[str]:
    """Returns the keys that a file of conf/ lists; read once, because a sweep checks all its jobs against them."""
    return frozenset(map(str, OmegaConf.load(CONF / name)))


def _group_choices(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides that choose an option of a config group."""
    keys = {word: word.lstrip("+").split("=")[0].split("@")[0] for word in overrides}
    return [word for word, key in keys.items() if key and (CONF / key).is_dir()]


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
