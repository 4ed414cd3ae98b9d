"""The contract of a launcher: how a job of a sweep becomes a process, here or on another machine.

A launcher is a class whose arguments are those of its file in `conf/launcher/`, and `command`, `n_jobs`, `threads` and
`folder`, the folder of the sweep.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from partoken.overrides import quote
from partoken.system.run_status import read_status

__all__ = ["GOOD", "Command", "Handle", "Launcher", "Task", "resume_override"]

GOOD = ("finished", "pruned")
"""Statuses of a job that is never run again."""

Command = Callable[[Sequence[str]], int]
"""A function of a module, such as `partoken.cli.train`: it receives the arguments of one run and returns its exit
status."""


@dataclass(frozen=True)
class Task:
    """A job as a launcher starts it: `partoken train` with these arguments, in a process of its own."""

    number: int
    """Of the job."""
    arguments: Sequence[str]
    """Of `partoken train`; they name the run folder."""
    folder: Path
    """The run folder, which exists."""
    quiet: bool
    """True: what it prints goes into `output.log` in the run folder, because other jobs run at the same time."""
    own_command: bool
    """True: it starts processes for further devices, which repeat its command line."""


class Handle(Protocol):
    """A job that was started."""

    @property
    def reason(self) -> str | None:
        """Why it ended, if the launcher knows more than its exit status tells."""

    def poll(self) -> int | None:
        """Returns its exit status, negative for a signal; None while it runs or waits."""

    def terminate(self) -> None:
        """Asks it to end after its current batch."""

    def kill(self) -> None:
        """Ends it at once."""


class Launcher(Protocol):
    """Starts jobs."""

    n_jobs: int
    """Jobs at a time."""

    def start(self, task: Task) -> Handle:
        """Starts a job and returns at once."""

    def find(self, folder: Path) -> Handle | None:
        """Returns the job that an earlier process of the sweep has started in a run folder, if it still goes on."""

    def close(self) -> None:
        """Frees what the launcher holds, when no job runs."""


def resume_override(folder: Path) -> list[str]:
    """Returns the overrides with which a half-finished run continues in its folder; none if it begins anew.

    A run that was killed after it had written its summary is half-finished, too: it repeats its test and its pictures.
    Its summary becomes `previous_summary.json`, because a run with a summary would be complete.

    Arguments:
        folder: the run folder.
    """
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if read_status(folder).status != "interrupted" or not checkpoint.is_file():
        return []
    with contextlib.suppress(FileNotFoundError):
        (folder / "summary.json").replace(folder / "previous_summary.json")
    return ["resume=null", f"train.resume_from={quote(str(checkpoint))}"]  # also a fork goes on with its own checkpoint
