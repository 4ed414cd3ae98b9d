"""Checks the jobs of a sweep before the first one starts, in a process that may import torch."""

import multiprocessing
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from partoken.errors import UserError
from partoken.sweep.expand import Sweep
from partoken.sweep.local import end_with_sweep, job_server
from partoken.training.objective import check_metric

__all__ = ["check_jobs"]


def check_jobs(sweep: Sweep) -> Sweep:
    """Returns the sweep, with the error of each job that cannot run.

    Raises:
        UserError: no job can run, or no job has `sweep.metric`.
    """
    able = [job for job in sweep.jobs if job.error is None]
    ours, theirs = multiprocessing.Pipe()
    process = job_server().Process(target=_answer, args=(theirs, [job.groups for job in able], sweep.metric))
    process.start()
    theirs.close()
    try:
        found: list[str | None] = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the check of the jobs ended with exit status {process.exitcode}") from None
    process.join()
    errors = dict(zip(map(id, able), found, strict=True))
    jobs = [replace(job, error=job.error or errors.get(id(job))) for job in sweep.jobs]
    if all(job.error for job in jobs):
        raise UserError(jobs[0].error or "")
    return replace(sweep, jobs=jobs)


def _answer(connection: Connection, configs: Sequence[Mapping[str, Any]], metric: str) -> None:
    """Sends the error of each configuration, or None."""
    threading.Thread(target=end_with_sweep, daemon=True).start()
    connection.send([_error(config, metric) for config in configs])


def _error(config: Mapping[str, Any], metric: str) -> str | None:
    from partoken.training.checks import check_before_reading, task_metrics  # torch
    from partoken.training.settings import TrainSettings

    try:
        train = TrainSettings.read(config["train"])
        check_before_reading(train, config)
        check_metric("sweep.metric", metric, task_metrics(train, config))
    except UserError as error:
        return str(error)
    return None
