"""The status of a run, written into its folder by the process that trains and read by every other one."""

import contextlib
import datetime
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from partoken.errors import UserError
from partoken.system.files import atomic_write, write_json
from partoken.system.locks import is_locked, process_lock
from partoken.system.run_folder import LOCK, STATUS

__all__ = ["ENDED", "STOP_FILE", "RunStatus", "is_interrupt", "read_status", "record_status", "request_stop"]
__all__ += ["write_status"]

STOP_FILE = "stop"
"""If a file of this name is in a run folder, the run ends after its current epoch."""

ENDED = ("finished", "pruned", "failed", "diverged")
"""Statuses of a run that needs no further training."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """The content of `status.json`."""

    status: str
    """"running", one of `ENDED`, "interrupted", or, without a file, "waiting"."""
    reason: str | None = None
    """Why the run has this status, for a person."""
    overrides: Sequence[str] = ()
    """Of the command line."""
    started: str | None = None
    """Local time, ISO 8601."""
    ended: str | None = None
    """Local time, ISO 8601. None: running, or killed."""
    host: str = ""
    """Name of the machine."""
    pid: int = 0
    """Number of the process."""


def read_status(folder: Path) -> RunStatus:
    """Returns the status of a run folder, which may be missing.

    A run whose process was killed could not write its end. It holds its lock no longer, so it counts as interrupted.

    Arguments:
        folder: the run folder.
    """
    try:
        content = json.loads((folder / STATUS).read_text())
        status = RunStatus(**content)
    except FileNotFoundError:
        return RunStatus(status="waiting")
    except (ValueError, TypeError):
        return RunStatus(status="interrupted", reason=f"{folder / STATUS} is damaged")
    if status.status == "running" and not is_locked(folder / LOCK):
        return replace(status, status="interrupted", reason=f"its process {status.pid} on {status.host} was killed")
    return status


def write_status(folder: Path, status: RunStatus) -> None:
    """Writes `status.json`, completely or not at all."""
    write_json(folder / STATUS, asdict(status))


@dataclass
class Ending:
    """How a run ended; the block of `record_status` sets it, if it was not with success."""

    status: str = "finished"
    reason: str | None = None


@contextlib.contextmanager
def record_status(
    folder: Path, overrides: Sequence[str] = (), begin: Callable[[], object] | None = None
) -> Iterator[Ending]:
    """Records that a run is running in its folder during the block, and how it ended.

    An exception that the block does not explain ends the run as "failed"; an interrupt, or an exit, as "interrupted".

    Arguments:
        folder: the run folder, which exists.
        overrides: of the command line.
        begin: called as soon as no other process trains in the folder, before the status is written.

    Raises:
        UserError: another process trains in this folder, or `begin` rejects it.
    """
    with process_lock(folder / LOCK) as is_ours:
        if not is_ours:
            raise UserError(
                f"hydra.run.dir={folder}: another process is training in this run folder; wait until it ends, or "
                "choose another folder"
            )
        if begin is not None:
            begin()
        status = RunStatus(
            status="running", overrides=list(overrides), started=_now(), host=socket.gethostname(), pid=os.getpid()
        )
        write_status(folder, status)
        ending = Ending()
        try:
            yield ending
        except BaseException as error:
            if not isinstance(error, Exception):
                ending.status, ending.reason = "interrupted", f"ended by {_cause(error)}"
            elif ending.status == "finished":
                ending.status, ending.reason = "failed", str(error) or type(error).__name__
            with contextlib.suppress(OSError, UserError):  # the disk may be full; the error itself says so
                write_status(folder, replace(status, status=ending.status, reason=ending.reason, ended=_now()))
            raise
        write_status(folder, replace(status, status=ending.status, reason=ending.reason, ended=_now()))


def request_stop(folder: Path, status: str, reason: str) -> None:
    """Asks the run in a folder to end after its current epoch.

    Arguments:
        folder: the run folder.
        status: of the run when it has ended, such as "pruned".
        reason: for a person.
    """
    with atomic_write(folder / STOP_FILE) as file:
        json.dump({"status": status, "reason": reason}, file)


def is_interrupt(error: BaseException) -> bool:
    """Returns whether SIGINT caused an exception; Lightning turns its KeyboardInterrupt into an exit."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)


def _cause(error: BaseException) -> str:
    """Returns the name of the signal that ended a run, or that of the exception."""
    by_signal = {128 + number: number.name for number in (signal.SIGINT, signal.SIGTERM)}
    if is_interrupt(error):
        return signal.SIGINT.name
    code = error.code if isinstance(error, SystemExit) else None
    return by_signal.get(code, type(error).__name__) if isinstance(code, int) else type(error).__name__


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
