"""Where the time of a run goes: `trainer.profiler`."""

import math
from pathlib import Path

from pytorch_lightning.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from partoken.errors import UserError

__all__ = ["build_profiler", "profile_table"]

NAMES = ("simple", "advanced", "pytorch")
SHOWN = 20
"""Actions in the table of the log; the file has all of them."""


def build_profiler(name: str | None, folder: Path) -> Profiler | None:
    """Creates the profiler that `trainer.profiler` names; all write into the run folder.

    Arguments:
        name: "simple" writes `profile.txt`, "advanced" and "pytorch" write `fit-profile.txt` and others. None: nothing
            is measured.
        folder: the run folder.

    Raises:
        UserError: no such profiler.
    """
    if name is None:
        return None
    if name not in NAMES:
        raise UserError(f"trainer.profiler={name}: choose from {', '.join(NAMES)}, or null")
    if name == "simple":
        return SimpleProfiler()
    return {"advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}[name](dirpath=folder, filename="profile")


def profile_table(profiler: SimpleProfiler, seconds: float, most: int | None = SHOWN) -> list[str]:
    """Returns the actions that took the longest, as lines. An action may contain others.

    Arguments:
        profiler: of a finished stage.
        seconds: that the whole stage took.
        most: number of actions; None: all.

    >>> profiler = SimpleProfiler()
    >>> profiler.recorded_durations.update({"run_training_epoch": [3.0, 1.0], "[Callback]Mine.on_train_start": [0.5]})
    >>> print("\\n".join(profile_table(profiler, 8.0)))
    action                    seconds    share      calls        mean
    run_training_epoch           4.00    50.0%          2      2.00 s
    Mine.on_train_start          0.50     6.2%          1   500.00 ms
    """
    totals = {_short(action): durations for action, durations in profiler.recorded_durations.items() if durations}
    longest = sorted(totals.items(), key=lambda item: -math.fsum(item[1]))[:most]
    width = max([20, *(len(action) for action, _ in longest)])
    lines = [f"{'action':<{width}}   {'seconds':>10}   {'share':>6}   {'calls':>8}   {'mean':>9}"]
    for action, durations in longest:
        total = math.fsum(durations)
        mean = _duration(total / len(durations))
        lines.append(f"{action:<{width}}   {total:>10.2f}   {total / seconds:>6.1%}   {len(durations):>8,}   {mean:>9}")
    return lines


def _short(action: str) -> str:
    """Returns the name of an action without the kind of its object, which its class already says."""
    return action.split("]", 1)[1] if action.startswith("[") and "]" in action else action


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.2f} ms"
