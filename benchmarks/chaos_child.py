"""The killed side of `chaos.py`: a training process that tells which window it is in and waits there for its kill.

Nothing of this is in the package: the functions that a window stands for are replaced in the child process alone.
"""

import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from partoken.system import files
from partoken.system.tables import read_table
from partoken.training.recorders import RateRecorder
from partoken.training.resume import ExactResume, ResumableDataModule

__all__ = ["PROTECTIONS", "Target", "Telling", "remove", "steps_in", "watch"]

PATIENCE = 10.0
"""Seconds for which a process waits for its kill; then it leaves the window, and the kill has missed."""

PROTECTIONS = ("kills", "atomic rename", "sync", "random state", "data position")
"""What `remove` can take away; "kills" makes the parent send none."""


@dataclass(frozen=True)
class Target:
    """Where a kill shall land."""

    window: str
    visit: int
    """The process waits when it is in the window for this time, from 1."""
    late: bool
    """True: after the work of the window; False: before it."""
    patience: float = PATIENCE


class Telling:
    """Writes what happens in this process to a pipe, and waits at the target.

    Arguments:
        pipe: descriptor of its writing end.
        target: None: the process is not to be killed.
    """

    def __init__(self, pipe: int, target: Target | None) -> None:
        self.pipe = pipe
        self.target = target
        self.parent = os.getppid()
        self.visits: Counter[str] = Counter()

    def say(self, *words: object) -> None:
        os.write(self.pipe, ("\t".join(map(str, words)) + "\n").encode())

    @contextmanager
    def window(self, name: str) -> Iterator[None]:
        """Marks the block as a window."""
        self.enter(name)
        yield
        self.leave(name)

    def enter(self, name: str) -> None:
        self.visits[name] += 1
        self.say("enter", name, os.getpid())
        self.wait(name, late=False)

    def leave(self, name: str) -> None:
        self.wait(name, late=True)
        self.say("leave", name, os.getpid())

    def wait(self, name: str, late: bool) -> None:
        """Waits for the kill if this is the target."""
        target = self.target
        if target is None or (target.window, target.visit, target.late) != (name, self.visits[name], late):
            return
        self.say("waits", name, os.getpid())
        end, process = time.monotonic() + target.patience, os.getppid()
        while time.monotonic() < end:
            time.sleep(0.005)
            if os.getppid() != process:  # a worker whose training process was killed
                os._exit(1)


def watch(telling: Telling, points: Mapping[str, tuple[Any, str]]) -> None:
    """Makes this process tell of all windows.

    Arguments:
        telling: receives the messages.
        points: the owner and the name of the function that is a window, by the name of the window.
    """
    for name, (owner, attribute) in points.items():
        setattr(owner, attribute, _inside(telling, name, getattr(owner, attribute)))
    register_optimizer_step_pre_hook(lambda *_: telling.enter("step"))
    register_optimizer_step_post_hook(lambda *_: telling.leave("step"))
    _watch_files(telling)
    begin: Any = RateRecorder.on_train_start

    def begins(self: RateRecorder, *arguments: Any) -> None:
        begin(self, *arguments)
        telling.say("begins", steps_in(self.path))

    setattr(RateRecorder, "on_train_start", begins)  # noqa: B010  # mypy allows no assignment to a method


def _inside(telling: Telling, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*arguments: Any, **options: Any) -> Any:
        with telling.window(name):
            return function(*arguments, **options)

    return watched


def _watch_files(telling: Telling) -> None:
    """Tells of half-written checkpoints, of their renaming and of syncs."""
    save, replace, fsync = torch.save, os.replace, os.fsync

    def halting(content: Any, file: Any, *arguments: Any, **options: Any) -> None:
        buffer = io.BytesIO()
        save(content, buffer, *arguments, **options)
        written = buffer.getvalue()
        with telling.window("save"):
            file.write(written[: len(written) // 2])
            file.flush()
            telling.wait("save", late=True)
            file.write(written[len(written) // 2 :])

    def renaming(source: Any, path: Any, **options: Any) -> None:
        if not str(path).endswith(".ckpt"):
            return replace(source, path, **options)
        with telling.window("rename"):
            replace(source, path, **options)
            telling.say("renamed", os.stat(Path(path).parent).st_ino)

    def syncing(descriptor: Any) -> None:
        fsync(descriptor)
        if not getattr(fsync, "does_nothing", False):
            telling.say("synced", os.fstat(descriptor if isinstance(descriptor, int) else descriptor.fileno()).st_ino)

    torch.save, os.replace, os.fsync = halting, renaming, syncing


def remove(protection: str) -> None:
    """Takes a protection away from this process, to see whether the parent notices it."""
    if protection == "atomic rename":
        setattr(files, "atomic_path", _in_place)  # noqa: B010
    elif protection == "sync":
        setattr(_no_sync, "does_nothing", True)  # noqa: B010
        os.fsync = _no_sync
    elif protection == "random state":
        setattr(ExactResume, "load_state_dict", _forget)  # noqa: B010
    elif protection == "data position":
        setattr(ResumableDataModule, "load_state_dict", _forget)  # noqa: B010


@contextmanager
def _in_place(path: Any) -> Iterator[Path]:
    yield Path(path)


def _no_sync(descriptor: Any) -> None:
    """Hands nothing to the disk."""


def _forget(self: Any, state_dict: Any) -> None:
    """Restores nothing."""


def steps_in(table: Path) -> int:
    """Returns the number of optimizer steps that a table of rates tells of; a row may be half-written."""
    rows = read_table(table) if table.exists() else []
    return 1 + max((int(row["step"]) for row in rows if (row.get("step") or "").isdecimal()), default=-1)
