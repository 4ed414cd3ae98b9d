"""The contract of a launcher: how a job of a sweep becomes a process, here or on another machine.

A launcher is a class whose arguments are those of its file in `conf/launcher/` and `command`, `n_jobs` and `threads`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Command", "Handle", "Launcher", "Task"]


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

    def close(self) -> None:
        """Frees what the launcher holds, when no job runs."""
