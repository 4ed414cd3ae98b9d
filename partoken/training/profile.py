"""Where the time of a run goes: `trainer.profiler`."""

import logging
import math
import re
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from partoken.errors import UserError
from partoken.system.files import atomic_write

__all__ = ["build_profiler", "profile_table", "write_profile"]

log = logging.getLogger(__name__)

NAMES = ("simple", "advanced", "pytorch")
SHOWN = 0.001
"""Smallest fraction of the time of an action in the table of the log; the file has all of them."""


def build_profiler(name: str | None, folder: Path, stage: str = "") -> Profiler | None:
    """Creates the profiler that `trainer.profiler` names; all write into the run folder.

    Arguments:
        name: "simple", whose table `write_profile` writes; "advanced" and "pytorch" write `fit-profile.txt` and
            others themselves. None: nothing is measured.
        folder: the run folder.
        stage: name of the stage, for the names of its files; "" if it has none.

    Raises:
        UserError: no such profiler.
    """
    if name is None:
        return None
    if name not in NAMES:
        raise UserError(f"trainer.profiler={name}: choose from {', '.join(NAMES)}, or null")
    if name == "simple":
        return SimpleProfiler()
    if name == "advanced":
        return AdvancedProfiler(dirpath=folder, filename=_file_name(stage))
    return PyTorchProfiler(dirpath=folder, filename=_file_name(stage))


def write_profile(trainer: pl.Trainer, seconds: float, folder: Path, stage: str = "") -> None:
    """Writes the table of a finished stage as `profile.txt` and logs its longest actions, if they were measured.

    Arguments:
        trainer: of the stage; only the profiler "simple" has a table.
        seconds: that the stage took.
        folder: the run folder.
        stage: name of the stage; "" if it has none.
    """
    profiler: object = getattr(trainer, "profiler", None)
    if not isinstance(profiler, SimpleProfiler):
        return
    path = folder / f"{_file_name(stage)}.txt"
    with atomic_write(path) as file:
        file.write("\n".join([*profile_table(profiler, seconds), ""]))
    for line in profile_table(profiler, seconds, everything=False):
        log.info("%s", line)
    log.info("an action may contain others; all of them are in %s", path)


def profile_table(profiler: SimpleProfiler, seconds: float, *, everything: bool = True) -> list[str]:
    """Returns the actions that took the longest, as lines. An action may contain others.

    Arguments:
        profiler: of a finished stage.
        seconds: that the whole stage took.
        everything: False leaves out actions that took less than `SHOWN` of the time.

    >>> profiler = SimpleProfiler()
    >>> profiler.recorded_durations.update({"run_training_epoch": [3.0, 1.0], "[Callback]Mine.on_train_start": [0.5]})
    >>> print("\\n".join(profile_table(profiler, 8.0)))
    action                    seconds    share      calls        mean
    run_training_epoch           4.00    50.0%          2      2.00 s
    Mine.on_train_start          0.50     6.2%          1   500.00 ms
    """
    measured: dict[str, list[float]] = {}
    for action, durations in profiler.recorded_durations.items():
        measured.setdefault(_short(action), []).extend(durations)
    longest = sorted(measured.items(), key=lambda item: -math.fsum(item[1]))
    if not everything:
        longest = [item for item in longest if math.fsum(item[1]) >= SHOWN * seconds]
    width = max([20, *(len(action) for action, _ in longest)])
    lines = [f"{'action':<{width}}   {'seconds':>10}   {'share':>6}   {'calls':>8}   {'mean':>9}"]
    for action, durations in longest:
        total = math.fsum(durations)
        mean = _duration(total / len(durations))
        lines.append(f"{action:<{width}}   {total:>10.2f}   {total / seconds:>6.1%}   {len(durations):>8,}   {mean:>9}")
    return lines


def _file_name(stage: str) -> str:
    return f"profile_{stage}" if stage else "profile"


def _short(action: str) -> str:
    """Returns the name of an action without the kind and the settings of its object.

    >>> _short("[Callback]ModelCheckpoint{'monitor': None}.on_train_epoch_end"), _short("[_EvaluationLoop].val_next")
    ('ModelCheckpoint.on_train_epoch_end', 'val_next')
    """
    return re.sub(r"^\[\w+\]\.?|\{.*\}", "", action)


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"
