"""The killing side of `chaos.py`: starts a child, kills it inside its window, and looks at what is left."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from chaos_child import Target, Telling, remove, steps_in, watch
from chaos_job import EVERY, Job

from partoken.errors import UserError
from partoken.system.checkpoint import read_checkpoint

__all__ = ["Kill", "Storm", "start"]

SHORT_PATIENCE = 0.2
"""Seconds for which a child waits for a kill that never comes."""


@dataclass
class Kill:
    """A kill that has landed in its window."""

    run: str
    window: str
    workers: int
    steps: int
    """Optimizer steps in `lr.csv` at the kill, the one of the window included."""
    lost: int | None = None
    """Those of them that the next start took again; None: the run did not train again."""


@dataclass
class Storm:
    """What happened to some runs."""

    kills: list[Kill] = field(default_factory=list)
    missed: int = 0
    """Starts that ended before their window."""
    unproved: list[str] = field(default_factory=list)
    """Kills that did not end the process inside its window."""
    runs: int = 0
    equal: int = 0
    checked: int = 0
    corrupt: list[str] = field(default_factory=list)
    renames: int = 0
    unsynced: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_over: int = 0
    groups: list[int] = field(default_factory=list)
    """Process groups of the children."""
    synced: set[str] = field(default_factory=set)
    """Inodes that were synced, of files and folders."""

    def complaints(self) -> list[str]:
        """Returns one line for each thing that must not happen."""
        costly = [f"{kill.window} cost {kill.lost} steps" for kill in self.kills if (kill.lost or 0) > EVERY]
        kinds = {"no kill": self.unproved, "corrupt": self.corrupt, "not synced": self.unsynced}
        kinds |= {"too many steps lost": costly, "differs": self.differing, "failed": self.failures}
        lines = [f"{kind}: {what}" for kind, found in kinds.items() for what in found]
        left = {"partial files": self.left_over, "processes": self.count_alive()}
        return lines + [f"{number} {kind} are left" for kind, number in left.items() if number]

    def count_alive(self, seconds: float = 15.0) -> int:
        """Returns the number of groups with processes that live on after some seconds."""
        end = time.monotonic() + seconds
        while (alive := sum(map(_is_alive, self.groups))) and time.monotonic() < end:
            time.sleep(0.2)
        return alive


def start(job: Job, run: Path, workers: int, storm: Storm, aim: tuple[str, int, bool] | None, removed: str = "") -> str:
    """Starts a child and kills it, if it comes to its window.

    Arguments:
        job: what the child runs.
        run: the run folder.
        workers: that load its batches.
        storm: gets what is found.
        aim: window, visit and lateness of the kill; None: the child shall finish.
        removed: a protection to do without.

    Returns:
        "killed", "finished" (it never came to its window), "failed", or "unproved".
    """
    target = aim and Target(*aim, **({"patience": SHORT_PATIENCE} if removed == "kills" else {}))
    reading, writing = os.pipe()
    arguments = (job, run, workers, target, removed, reading, writing)
    child = multiprocessing.get_context("fork").Process(target=_child, args=arguments)
    child.start()
    os.close(writing)
    assert child.pid is not None
    waiting, has_left = None, False
    for words in _lines(reading):
        _note(words, storm, run)
        has_left |= words[0] == "leave" and words[1:] == waiting
        if words[0] == "waits" and waiting is None:
            waiting = words[1:]
            os.kill(child.pid, 0 if removed == "kills" else signal.SIGKILL)
            if removed != "kills":
                break
    child.join()
    if waiting is not None:  # what the child said between its message and its end
        os.set_blocking(reading, False)
        for words in _lines(reading):
            _note(words, storm, run)
            has_left |= words[0] == "leave" and words[1:] == waiting
    os.close(reading)
    storm.groups.append(child.pid)
    is_inside = None if waiting is None else not has_left
    return _judge(child.exitcode, is_inside, run, workers, storm, aim)


def _judge(code: int | None, is_inside: bool | None, run: Path, workers: int, storm: Storm, aim: tuple | None) -> str:
    """Decides how a start has ended, and looks at the checkpoints that are left.

    Arguments:
        code: exit status of the child.
        is_inside: whether it never left the window in which the kill was sent; None: no kill was sent.
        run: the run folder.
        workers: that loaded its batches.
        storm: gets what is found.
        aim: of the kill.
    """
    if is_inside is None:
        storm.missed += aim is not None and code == 0
        if code:
            storm.failures.append(f"{run.name} ended with status {code}: {_last_line(run)}")
        return "failed" if code else "finished"
    _cut_power(run, storm)
    if code != -signal.SIGKILL or not is_inside:
        storm.unproved.append(f"{run.name} left the window '{aim[0]}' alive, status {code}")
        return "unproved" if code else "finished"
    storm.kills.append(Kill(run.name, aim[0], workers, steps_in(run / "lr.csv")))
    return "killed"


def _child(job: Job, run: Path, workers: int, target: Target | None, removed: str, reading: int, writing: int) -> None:
    os.close(reading)
    os.setsid()
    torch.set_num_threads(1)
    log = os.open(f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    remove(removed)
    watch(Telling(writing, target), job.points)
    raise SystemExit(job.train(run, workers, target is None))


def _lines(pipe: int) -> Iterator[list[str]]:
    """Yields the messages in a pipe until its end, or until there is nothing more in one that does not block."""
    rest = b""
    while True:
        try:
            content = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return
        if not content:
            return
        *whole, rest = (rest + content).split(b"\n")
        yield from (line.decode().split("\t") for line in whole)


def _note(words: list[str], storm: Storm, run: Path) -> None:
    """Keeps what a message says about steps and syncs."""
    kind, value = words[0], words[-1]
    if kind == "begins":
        for kill in storm.kills:
            if kill.run == run.name and kill.lost is None:
                kill.lost = max(0, kill.steps - int(value))
    elif kind == "synced":
        storm.synced.add(value)
    elif kind == "renamed":
        storm.renames += 1
        storm.synced.discard(value)  # of the folder: it has a new name now


def _cut_power(run: Path, storm: Storm) -> None:
    """Cuts the checkpoints whose content was not synced to half, as a power cut may, and reads all of them."""
    for path in run.rglob("*.ckpt"):
        if str(path.stat().st_ino) not in storm.synced:
            storm.unsynced.append(f"{run.name}: {path.name}")
            os.truncate(path, path.stat().st_size // 2)
        storm.checked += 1
        try:
            read_checkpoint(path)
        except UserError as error:
            storm.corrupt.append(f"{run.name}: {str(error).removeprefix(str(run))}")


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _last_line(run: Path) -> str:
    lines = Path(f"{run}.log").read_text().splitlines()
    return lines[-1] if lines else ""
