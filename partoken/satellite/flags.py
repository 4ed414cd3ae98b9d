"""The flags of the Axion-Sat document: translates them into overrides, and starts the run that these describe.

Imports no torch.
"""

import argparse
import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from partoken.errors import UserError, check_number, did_you_mean, print_error

__all__ = ["FLAGS", "start", "translate"]

STAGE2 = "train.stages.stage2"
"""Key of stage 2 in `experiment=axion`, which trains both stages."""

HYDRA_OPTIONS = (
    *("-m", "--multirun", "-r", "--run", "-c", "--cfg", "--resolve", "-p", "--package", "-i", "--info", "--hydra-help"),
    *("-cd", "--config-dir", "-cp", "--config-path", "-cn", "--config-name"),
)
"""Options that may stand among the overrides."""

PLAIN = re.compile(r"(\.{0,2}/|[a-z_])[\w./-]*", re.ASCII | re.IGNORECASE)
WORDS = ("null", "true", "false", "nan", "inf")
"""Words that Hydra does not read as text."""


@dataclass(frozen=True)
class Flag:
    """A flag of the document."""

    key: str
    """The override that it becomes; "" if `translate` does more."""
    metavar: str
    help: str
    in_stage: bool = False
    """True for a key of `train` that a stage may have for itself."""
    limits: Mapping[str, Any] | None = None
    """Limits of a number, as for `check_number`; None: the value is text."""


COUNT: dict[str, Any] = {"minimum": 1, "whole": True}

FLAGS = {
    "data_dir": Flag("data.root", "DIR", "folder of tiles; default: the tiles that ship with the package"),
    "output_dir": Flag("hydra.run.dir", "DIR", "run folder; default: a new one in outputs/"),
    "stage1_dir": Flag("data.stage1_dir", "DIR", "run folder of stage 1"),
    "warmup_steps": Flag(
        "train.warmup_steps",
        "N",
        "optimizer steps of warm-up; default: that of --config, else 10 %% of the run",
        in_stage=True,
        limits={"minimum": 0, "whole": True},
    ),
    "lr": Flag(
        "train.lr",
        "RATE",
        "peak learning rate; default: that of --config, else that of the experiment",
        in_stage=True,
        limits={"above": 0},
    ),
    "epochs": Flag("train.epochs", "N", "passes over the training tiles", in_stage=True, limits=COUNT),
    "batch_size": Flag("train.batch_size", "N", "tiles of a batch", limits=COUNT),
    "grad_accum": Flag(
        "trainer.accumulate_grad_batches", "N", "batches of an optimizer step, summed up in little memory", limits=COUNT
    ),
    "resume": Flag("train.resume_from", "FILE", "checkpoint to continue from, such as RUN/checkpoints/last.ckpt"),
    "max_samples": Flag("data.limit", "N", "approximate number of tiles to use, from all splits", limits=COUNT),
    "config": Flag("", "FILE", "YAML file with training.learning_rate, training.lr_scheduler.warmup_steps and .min_lr"),
}
"""The flags, by name."""

FILE_KEYS: dict[str, tuple[str, dict[str, Any]]] = {
    "training.learning_rate": ("lr", {"above": 0}),
    "training.lr_scheduler.warmup_steps": ("warmup_steps", {"minimum": 0, "whole": True}),
    "training.lr_scheduler.min_lr": ("min_lr", {"minimum": 0}),
}
"""Keys of the file of `--config`: the key of `train` that each becomes, and its limits."""


def start(stage: int, arguments: Sequence[str] | None = None) -> int:
    """Replaces this process by `partoken train` with the overrides that the flags stand for.

    A process of its own, because a domain does not import the commands.

    Arguments:
        stage: 1 or 2.
        arguments: flags, overrides and Hydra's options; None: the command line.

    Returns:
        The exit status 2 after a user's mistake; otherwise the function does not return.
    """
    try:
        overrides = translate(stage, sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        return print_error(error)
    print(f"partoken train {shlex.join(overrides)}", file=sys.stderr, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "partoken.cli", "train", *overrides])


def translate(stage: int, arguments: Sequence[str]) -> list[str]:
    """Returns the overrides that flags stand for.

    A flag wins over the file of `--config`, and the file over the experiment. An override of the user's comes last, so
    it wins over all of them. Stage 2 without `--stage1_dir` becomes a run that first trains stage 1; the flags of
    length and rate then apply to stage 2.

    Arguments:
        stage: 1 or 2.
        arguments: flags, and overrides and Hydra's options, which stay as they are.

    Raises:
        UserError: an unknown flag, a value out of range, or a file that cannot be used.

    >>> translate(2, ["--stage1_dir", "outputs/stage1", "--warmup_steps", "500"])
    ['experiment=axion_stage2', 'data.stage1_dir=outputs/stage1', 'train.warmup_steps=500']
    """
    options, rest = _parser(stage).parse_known_args(list(arguments))
    _check_rest(rest)
    given: dict[str, Any] = {name: value for name, value in vars(options).items() if value is not None}
    if stage == 1 and "stage1_dir" in given:
        raise UserError(
            f"--stage1_dir={given['stage1_dir']}: stage 1 starts from no other stage; leave the flag out, or run "
            "python -m partoken.satellite.train_stage2"
        )
    both = stage == 2 and "stage1_dir" not in given
    train = STAGE2 if both else "train"
    overrides = ["experiment=axion" if both else f"experiment=axion_stage{stage}"]
    if "data_dir" in given:
        overrides.append("data=tiles")
    file = _read_file(given.pop("config")) if "config" in given else {}
    overrides += [f"{train}.{key}={value!r}" for key, value in file.items() if key not in given]
    for name, text in given.items():
        flag = FLAGS[name]
        value = _quoted(text) if flag.limits is None else repr(_number(f"--{name}", text, flag.limits))
        key = flag.key.replace("train", train, 1) if flag.in_stage else flag.key
        overrides.append(f"{key}={value}")
    return [*overrides, *rest]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the flags")


def _parser(stage: int) -> _Parser:
    purpose = ("Trains stage 1 of Axion-Sat: radar to optical.", "Trains stage 2 of Axion-Sat: refines stage 1.")
    parser = _Parser(
        f"python -m partoken.satellite.train_stage{stage}",
        usage="%(prog)s [FLAGS] [OVERRIDES]",
        description=f"{purpose[stage - 1]} The flags stand for overrides of `partoken train`; more of them may follow.",
        allow_abbrev=False,
    )
    for name, flag in FLAGS.items():
        if stage == 1 and name == "stage1_dir":
            text = argparse.SUPPRESS
        elif name == "stage1_dir":
            text = f"{flag.help}; default: stage 1 is trained first, in the same run"
        else:
            text = flag.help
        parser.add_argument(f"--{name}", metavar=flag.metavar, help=text)
    return parser


def _check_rest(words: Sequence[str]) -> None:
    """Rejects a word that is neither an override nor an option of Hydra's."""
    for word in words:
        name = word.split("=")[0]
        if name.startswith("-") and name not in HYDRA_OPTIONS:
            known = [f"--{flag}" for flag in FLAGS]
            raise UserError(f"{name} is no flag.{did_you_mean(name, known)} --help lists the flags")


def _number(name: str, text: str, limits: Mapping[str, Any]) -> float:
    value: Any = text
    with contextlib.suppress(ValueError):
        value = int(text) if limits.get("whole") else float(text)
    check_number(name, value, **limits)
    number: float = value
    return number


def _read_file(path: str) -> dict[str, float]:
    """Returns the settings of `train` in the file of `--config`.

    Raises:
        UserError: the file cannot be read, or has an unknown key or a value out of range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(Path(path)), resolve=True)
    except OSError as error:
        raise UserError(f"--config={path}: {error.strerror}; name a YAML file") from None
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise UserError(f"--config={path}: is not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise UserError(f"--config={path}: must hold keys such as training.learning_rate, not a list")
    found = {}
    for key, value in _leaves(content):
        if key not in FILE_KEYS:
            raise UserError(
                f"--config={path}: {key} is not a key here.{did_you_mean(key, FILE_KEYS)} Allowed: "
                f"{', '.join(FILE_KEYS)}; give any other setting as an override such as train.weight_decay=0.01"
            )
        name, limits = FILE_KEYS[key]
        if value is not None:
            check_number(f"--config={path}: {key}", value, **limits)
            found[name] = value
    return found


def _leaves(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{prefix}{name}"
        groups = {known[: len(key)] for known in FILE_KEYS if known.startswith(f"{key}.")}
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{key}.")
        elif value is not None or not groups:  # an empty group sets nothing
            yield key, value


def _quoted(text: str) -> str:
    """Returns text as a value of an override, in quotes unless Hydra reads it as it is."""
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    # Hydra takes a backslash literally, except before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), text)
    return "'" + escaped.replace("${", "\\${") + "'"
