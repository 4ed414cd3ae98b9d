"""Carries out the jobs of a sweep that are missing, several at a time, and says what became of each."""

import datetime
import math
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from partoken.errors import UserError, print_error
from partoken.overrides import quote
from partoken.sweep.checking import check_jobs
from partoken.sweep.claims import Claims
from partoken.sweep.expand import Sweep, expand
from partoken.sweep.launcher import GOOD, Command, Handle, Launcher, Task, resume_override
from partoken.sweep.local import use_threads
from partoken.sweep.record import Numbered, Record, job_threads, read_jobs, reconcile
from partoken.sweep.search import Search
from partoken.system.instantiation import instantiate
from partoken.system.ranks import started_by
from partoken.system.run_status import ENDED, RunStatus, read_status, write_status

__all__ = ["Queue", "run_sweep"]

GOOD_IN_A_SEARCH = (*GOOD, "diverged", "running")
"""A search learns from a job that diverged, and may share its work with another process."""
POLL_SECONDS = 0.1


class Queue(Protocol):
    """Where the runner takes its jobs from."""

    def __len__(self) -> int:
        """Returns the number of jobs that are missing."""

    def next(self) -> Numbered | None:
        """Returns the next job that is missing; None: there is none now."""

    def watch(self, job: Numbered) -> None:
        """Looks at a job that runs; called several times a second."""

    def ended(self, job: Numbered, status: RunStatus) -> None:
        """Takes note of a job that has ended."""


class Listed:
    """The jobs of a list, in their order, but those that another process of the sweep has claimed.

    Arguments:
        jobs: all jobs of the sweep.
        retry_failed: failed jobs run again.
    """

    def __init__(self, jobs: Sequence[Numbered], retry_failed: bool) -> None:
        self._done = (*(GOOD if retry_failed else ENDED), "running")
        self._waiting = [job for job in jobs if read_status(job.folder).status not in self._done]
        self._claims = Claims()

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self) -> Numbered | None:
        while self._waiting:
            job = self._waiting.pop(0)
            if not self._claims.take(job):
                _say(f"job {job.number} runs in another process")
            elif (status := read_status(job.folder).status) in self._done:
                self._claims.release(job)
                _say(f"job {job.number} is {status} in another process")
            else:
                return job
        return None

    def watch(self, job: Numbered) -> None:
        """A job of a list runs to its end."""

    def ended(self, job: Numbered, status: RunStatus) -> None:
        self._claims.release(job)


def run_sweep(arguments: Sequence[str], command: Command, present: Callable[[Path], None] | None = None) -> int:
    """Runs the jobs of a sweep, or those that are missing if it is started again in its folder.

    Arguments:
        arguments: overrides, with lists of values, and Hydra's own options.
        command: carries out one run.
        present: called with the folder of the sweep when the jobs have ended; it shows their table.

    Returns:
        0 if all jobs have finished, 2 if one has not, or for a user's mistake; 130 and 143 after a signal.
    """
    try:
        if (started := started_by()) is not None:
            raise UserError(
                f"-m inside {started.program}: each of its {started.num_processes} processes would run the sweep; "
                "start the sweep alone, its jobs start the processes of their devices"
            )
        sweep = expand(arguments)
        use_threads(job_threads(sweep))  # before the server of the jobs imports torch
        sweep = check_jobs(sweep)
        record, queue = _list(sweep) if sweep.search is None else _search(sweep)
        _say_what_runs(sweep, record, len(queue))
        if code := _carry_out(sweep, queue, record, command):
            return code
        if present is not None:
            present(sweep.folder)
    except (UserError, OSError) as error:
        return print_error(error)
    return _conclude(sweep, read_jobs(sweep.folder), arguments)


def _list(sweep: Sweep) -> tuple[Record, Queue]:
    record = reconcile(sweep)
    return record, Listed(record.jobs, sweep.retry_failed)


def _search(sweep: Sweep) -> tuple[Record, Queue]:
    search = Search(sweep)
    return search.record, search


def _carry_out(sweep: Sweep, queue: Queue, record: Record, command: Command) -> int:
    """Starts jobs until none is missing, and waits for them; returns 0, or 130 or 143 after a signal."""
    launcher: Launcher = instantiate(
        sweep.launcher,
        "launcher",
        command=command,
        n_jobs=sweep.n_jobs,
        threads=record.threads,
        folder=sweep.folder.resolve(),
    )
    running = _find_running(launcher, record.jobs)
    began = dict.fromkeys(running, time.monotonic())
    seconds: list[float] = []
    previous = signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        while True:
            while len(running) < launcher.n_jobs and (job := queue.next()) is not None:
                handle = _start(launcher, sweep, job)
                if handle is None:
                    queue.ended(job, read_status(job.folder))
                else:
                    running[handle], began[handle] = job, time.monotonic()
            if not running:
                return 0
            time.sleep(POLL_SECONDS)
            for handle, job in list(running.items()):
                queue.watch(job)
                code = handle.poll()
                if code is None:
                    continue
                del running[handle]
                seconds.append(time.monotonic() - began[handle])
                status = _conclude_job(job, code, handle.reason)
                queue.ended(job, status)
                _say_how_it_ended(job, status, _remaining(seconds, len(queue) + len(running), launcher.n_jobs))
    except (KeyboardInterrupt, SystemExit) as stopped:
        again = f"start the same command with hydra.sweep.dir={sweep.folder} to go on"
        if isinstance(stopped, SystemExit):
            _say(f"stopped by SIGTERM; {again}")
            return 128 + signal.SIGTERM
        _say(f"stopped by an interrupt; {again}")
        return 128 + signal.SIGINT
    finally:
        _stop(running)
        launcher.close()
        signal.signal(signal.SIGTERM, previous)


def _find_running(launcher: Launcher, jobs: Sequence[Numbered]) -> dict[Handle, Numbered]:
    """Returns the jobs that an earlier process of the sweep has started and that train now."""
    running: dict[Handle, Numbered] = {}
    for job in jobs:
        if read_status(job.folder).status == "running" and (handle := launcher.find(job.folder)) is not None:
            _say(f"job {job.number} runs since the sweep was started before")
            running[handle] = job
    return running


def _start(launcher: Launcher, sweep: Sweep, job: Numbered) -> Handle | None:
    """Starts a job; None if it cannot run."""
    if job.error is not None:
        status = RunStatus(status="failed", reason=job.error, overrides=list(job.overrides))
        write_status(job.folder, status)
        _say_how_it_ended(job, status, "")
        return None
    if (found := launcher.find(job.folder)) is not None:
        _say(f"job {job.number} waits since the sweep was started before")
        return found
    resumed = resume_override(job.folder)
    title = " ".join(word for word in job.overrides if word not in sweep.common)
    _say(f"job {job.number} {'goes on' if resumed else 'starts'}: {title}")
    arguments = [
        *sweep.options,
        *job.overrides,
        f"hydra.run.dir={quote(str(job.folder))}",
        f"hydra.job.num={job.number}",
        "hydra.sweeper.params=null",  # a preset's values are for the sweep
        *resumed,
    ]
    trainer = job.config.get("trainer", {})
    many = trainer.get("devices") not in (1, "1") or trainer.get("num_nodes", 1) != 1
    return launcher.start(Task(job.number, arguments, job.folder, launcher.n_jobs > 1, many))


def _conclude_job(job: Numbered, code: int, known: str | None) -> RunStatus:
    """Returns the status of a job whose process has ended, and writes it if the process could not.

    Arguments:
        job: the job.
        code: its exit status, negative for a signal.
        known: the reason that the launcher knows, if any.
    """
    status = read_status(job.folder)
    if status.status == "running":
        return status  # another process was faster
    if status.status in ENDED and (code == 0 or status.status not in GOOD):
        return status
    if code < 0:
        name = signal.Signals(-code).name
        status = RunStatus(
            status="interrupted",
            reason=known or f"killed by {name}; if nobody did it, memory may have run out",
            overrides=list(job.overrides),
        )
    elif status.status != "interrupted" or code == 0:
        reason = known or status.reason or f"ended with exit status {code}; see run.log in its folder"
        status = RunStatus(status="failed", reason=reason, overrides=list(job.overrides))
    write_status(job.folder, status)
    return status


def _stop(running: Mapping[Handle, Numbered]) -> None:
    """Ends the jobs that still run after their current batch; a second interrupt ends them at once."""
    for handle in running:
        handle.terminate()
    try:
        while any(handle.poll() is None for handle in running):
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        for handle in running:
            handle.kill()


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _say_what_runs(sweep: Sweep, record: Record, missing: int) -> None:
    _say(f"sweep folder: {sweep.folder}")
    threads = "1 thread" if record.threads == 1 else f"{record.threads} threads"
    total = len(record.jobs) if sweep.search is None else max(sweep.search.trials, len(record.jobs))
    _say(
        f"{total} jobs, {missing} to run, {sweep.n_jobs} at a time with {threads} each; best is the "
        f"{'highest' if sweep.direction == 'max' else 'lowest'} {sweep.metric}"
    )
    for item in sweep.space:
        _say(f"chooses {item}")


def _say_how_it_ended(job: Numbered, status: RunStatus, remaining: str) -> None:
    reason = f": {status.reason}" if status.reason else ""
    _say(f"job {job.number} {status.status}{reason}{remaining}")


def _remaining(seconds: Sequence[float], left: int, n_jobs: int) -> str:
    """Returns how many jobs are left, and how long they may take at most, judged by those that have ended.

    >>> _remaining([50.0, 70.0], 5, 2)
    ' (5 left, about 0:03:00)'
    """
    if not left:
        return ""
    rounds = math.ceil(left / n_jobs)
    return f" ({left} left, about {datetime.timedelta(seconds=round(rounds * sum(seconds) / len(seconds)))})"


def _conclude(sweep: Sweep, jobs: Sequence[Numbered], arguments: Sequence[str]) -> int:
    """Says what is not finished, and returns the exit status."""
    good = GOOD if sweep.search is None else GOOD_IN_A_SEARCH
    bad = [status.status for job in jobs if (status := read_status(job.folder)).status not in good]
    if not bad:
        return 0
    words = [word for word in arguments if not word.startswith("hydra.sweep.dir=")]
    again = shlex.join([*words, f"hydra.sweep.dir={sweep.folder}"])
    if sweep.search is None:
        again = f"; to run them again: partoken train {again} sweep.retry_failed=true"
    elif "interrupted" in bad:
        again = f"; to go on with those that were interrupted: partoken train {again}"
    else:
        again = ""
    _say(f"{len(bad)} of {len(jobs)} jobs have not finished{again}")
    return 2


def _say(line: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} sweep: {line}", flush=True)
