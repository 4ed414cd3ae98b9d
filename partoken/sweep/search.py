"""Chooses the jobs of a sweep one after another from the results so far, and stops hopeless ones early.

Only the process of the sweep looks at the trials; a job is a run like any other. Several processes may share the work
of one folder: a lock is held while `search.db` and `sweep.json` are used, and a process claims the jobs that it runs.

    asked for  ->  in sweep.json  ->  claimed and run  ->  told

A kill between two steps loses nothing: the next process that looks for work takes the step that is missing.
"""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from partoken.errors import UserError
from partoken.sweep.claims import Claims
from partoken.sweep.expand import Job, Sweep
from partoken.sweep.record import LOCK, Numbered, add_job, open_search, read_jobs
from partoken.sweep.study import Trials
from partoken.system.locks import file_lock
from partoken.system.run_status import ENDED, RunStatus, read_status, request_stop
from partoken.system.tables import read_table
from partoken.training.objective import metric_value

__all__ = ["DATABASE", "Search"]

DATABASE = "search.db"
LOOK_AGAIN_SECONDS = 5.0
"""Time after which a search without work looks for some again, while its jobs run."""


class Search:
    """The trials of a search, as a queue of the runner. A trial is the job of the same number.

    Its values depend on `sweep.sampler_seed`, its number, and the results that are known when it is asked for.

    Arguments:
        sweep: what the command line asks for.

    Raises:
        UserError: Optuna is missing, or the folder has another search.
    """

    def __init__(self, sweep: Sweep) -> None:
        assert sweep.search is not None
        self._sweep, self._settings = sweep, sweep.search
        self._taken: set[int] = set()
        self._claims = Claims()
        self._stamps: dict[int, tuple[int, int]] = {}
        self._idle_until = 0.0
        sweep.folder.mkdir(parents=True, exist_ok=True)
        path = sweep.folder / DATABASE
        with file_lock(sweep.folder / LOCK):
            self.record = open_search(sweep)
            if self.record.jobs and not path.exists():
                raise UserError(
                    f"{path} is missing, though the search has jobs; restore it, or choose another hydra.sweep.dir"
                )
            self._trials = Trials(path, sweep.search, sweep.space, sweep.direction)

    def __len__(self) -> int:
        with self._lock():
            missing = self._settings.trials - len(self._trials)
            return len(self._trials.unfinished()) + max(0, missing)

    def next(self) -> Numbered | None:
        if time.monotonic() < self._idle_until:
            return None
        with self._lock():
            jobs = {job.number: job for job in read_jobs(self._sweep.folder)}
            for number in self._waiting():
                job = jobs.get(number) or self._add(number, list(jobs.values()))
                if job is not None and self._take(job):
                    return job
        self._idle_until = time.monotonic() + LOOK_AGAIN_SECONDS
        return None

    def watch(self, job: Numbered) -> None:
        path = job.folder / "metrics.csv"
        try:
            state = path.stat()
        except FileNotFoundError:
            return  # no epoch is done
        stamp = (state.st_mtime_ns, state.st_size)
        if self._stamps.get(job.number) != stamp:
            self._stamps[job.number] = stamp
            with self._lock():
                self._judge(job)

    def ended(self, job: Numbered, status: RunStatus) -> None:
        with self._lock():
            if status.status in ENDED:
                self._tell(job, status)
            self._claims.release(job)
        self._idle_until = 0.0  # a free place, and perhaps a result

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return file_lock(self._sweep.folder / LOCK)

    def _waiting(self) -> Iterator[int]:
        """Yields the trials that may lack a process: those begun before, then new ones."""
        yield from (number for number in self._trials.unfinished() if number not in self._taken)
        while len(self._trials) < self._settings.trials:
            yield self._trials.ask()

    def _add(self, number: int, jobs: Sequence[Numbered]) -> Numbered | None:
        """Writes the job of a trial into `sweep.json`; None: it would repeat a job, so its result is known."""
        job = self._sweep.job(self._trials.words(number))
        for other in jobs:
            if Job(other.overrides, other.config).identity == job.identity:
                self._repeat(number, other)
                return None
        return add_job(self._sweep, number, job)

    def _repeat(self, number: int, other: Numbered) -> None:
        """Ends a trial with the values of another one, whose job already has its result or will have it."""
        status = read_status(other.folder).status
        if status not in ENDED:
            self._trials.discard(number)
        else:
            value = metric_value(other.folder, self._sweep.metric) if status == "finished" else None
            self._trials.tell(number, value)

    def _take(self, job: Numbered) -> bool:
        """Claims a job for this process, unless another one runs it or it has ended."""
        if not self._claims.take(job):
            return False
        status = read_status(job.folder)
        if status.status in ENDED:
            self._tell(job, status)
        if status.status in (*ENDED, "running"):
            self._claims.release(job)
            return False
        self._taken.add(job.number)
        return True

    def _judge(self, job: Numbered) -> None:
        """Reports the epochs that are new, and asks a hopeless job to stop after its current epoch."""
        done = self._report(job)
        # The epoch that runs now is completed in any case; if it is the last one, nothing would be saved.
        total = _num_epochs(job.config)
        if done is None or (total is not None and done + 1 >= total):
            return
        if self._trials.is_hopeless(job.number):
            reason = f"up to epoch {done} its {self._sweep.metric} is worse than the median of the finished jobs"
            request_stop(job.folder, "pruned", reason)

    def _report(self, job: Numbered) -> int | None:
        """Reports the metric of the epochs that are new; returns how many epochs are done if there is news."""
        done = None
        try:
            rows = read_table(job.folder / "metrics.csv")
        except FileNotFoundError:
            return None
        for row in rows:
            text = row.get(self._sweep.metric)
            if text and math.isfinite(float(text)):
                epoch = int(row["epoch"]) + 1
                if self._trials.report(job.number, epoch, float(text)):
                    done = epoch
        return done

    def _tell(self, job: Numbered, status: RunStatus) -> None:
        """Ends the trial of a job that has ended; one that failed or diverged counts as worse than every other."""
        self._report(job)
        value = metric_value(job.folder, self._sweep.metric) if status.status == "finished" else None
        self._trials.tell(job.number, value, is_stopped=status.status == "pruned")


def _num_epochs(config: Mapping[str, Any]) -> int | None:
    """Returns the epochs of a run; None: a stage counts its steps."""
    train = config["train"]
    if train["stages"] is None:
        return int(train["epochs"])
    stages = train["stages"].values() if isinstance(train["stages"], Mapping) else train["stages"]
    epochs = [stage.get("epochs") for stage in stages]
    return None if None in epochs else sum(epochs)
