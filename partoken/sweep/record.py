"""What a sweep asked for, kept in its folder, so that it keeps its job numbers when it is started again."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partoken.errors import UserError
from partoken.sweep.expand import Job, Sweep
from partoken.system.files import write_json
from partoken.system.locks import file_lock

__all__ = [
    "FILE",
    "LOCK",
    "Numbered",
    "Record",
    "changes",
    "job_threads",
    "leaves",
    "read_content",
    "read_jobs",
    "reconcile",
]

FILE = "sweep.json"
LOCK = ".sweep.lock"
VERSION = 1
JOB_KEYS = ("number", "folder", "overrides", "config")


@dataclass(frozen=True)
class Numbered:
    """A job with its number and its folder in the sweep."""

    number: int
    folder: Path
    """The run folder."""
    overrides: Sequence[str]
    config: Mapping[str, Any]
    error: str | None = None
    """Why it cannot run."""


@dataclass(frozen=True)
class Record:
    """A sweep as its folder knows it."""

    threads: int
    """Threads of every job; the results depend on them."""
    jobs: list[Numbered]
    """All jobs, by number."""


def reconcile(sweep: Sweep) -> Record:
    """Numbers the jobs of a sweep, as before if it was started before, and writes `sweep.json`.

    A job is recognised by its resolved configuration, whatever its place on the command line. Jobs may be added.

    Arguments:
        sweep: what the command line asks for.

    Returns:
        What the folder knows now.

    Raises:
        UserError: the folder has a job that is not asked for, or holds other runs; other threads are asked for.
    """
    sweep.folder.mkdir(parents=True, exist_ok=True)
    with file_lock(sweep.folder / LOCK):
        before = read_content(sweep.folder)
        content, added = _match(sweep, before["jobs"])
        number = max((job["number"] for job in content), default=-1) + 1
        for offset, job in enumerate(added):
            folder = job.subfolder(number + offset)
            if (sweep.folder / folder / "status.json").exists() or (sweep.folder / folder / ".hydra").exists():
                raise UserError(
                    f"{sweep.folder / folder} holds a run that is not of this sweep; choose another hydra.sweep.dir"
                )
            content.append(
                {
                    "number": number + offset,
                    "folder": folder,
                    "overrides": list(job.overrides),
                    "config": dict(job.config),
                    **({"error": job.error} if job.error else {}),
                }
            )
        _check_folders(content)
        threads = _threads(sweep, before)
        head = {"version": VERSION, "metric": sweep.metric, "direction": sweep.direction, "threads": threads}
        write_json(sweep.folder / FILE, {**head, "jobs": content})
    return Record(threads, [_numbered(sweep.folder, job) for job in content])


def read_content(folder: Path) -> dict[str, Any]:
    """Returns the content of `sweep.json`; no jobs without the file.

    Arguments:
        folder: of the sweep.

    Raises:
        UserError: the file is damaged, or of another version.
    """
    path = folder / FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        version, jobs = content["version"], content["jobs"]
        is_whole = version != VERSION or all(set(JOB_KEYS) <= set(job) for job in jobs)
    except FileNotFoundError:
        return {"jobs": []}
    except (ValueError, TypeError, KeyError):
        is_whole = False
    if not is_whole:
        raise UserError(f"{path} is damaged; restore it, or choose another hydra.sweep.dir")
    if version != VERSION:
        raise UserError(f"{path} was written by another version of partoken; choose another hydra.sweep.dir")
    return content


def read_jobs(folder: Path) -> list[Numbered]:
    """Returns the jobs of a sweep that was started before; none without `sweep.json`.

    Raises:
        UserError: `sweep.json` cannot be read.
    """
    return [_numbered(folder, job) for job in read_content(folder)["jobs"]]


def job_threads(sweep: Sweep) -> int:
    """Returns the threads of a job: as before, as asked for, or the share of the cores.

    Arguments:
        sweep: what the command line asks for.

    Raises:
        UserError: other threads are asked for than before.
    """
    return _threads(sweep, read_content(sweep.folder))


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of a configuration with their full names.

    >>> dict(leaves({"train": {"lr": 0.1, "stages": None}, "test": True}))
    {'train.lr': 0.1, 'train.stages': None, 'test': True}
    """
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def changes(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Returns a phrase for each value that differs between two configurations.

    >>> changes({"train": {"lr": 0.1, "seed": 0}}, {"train": {"lr": 0.2, "seed": 0}})
    ['train.lr was 0.1 and is 0.2']
    """
    before, now = dict(leaves(theirs)), dict(leaves(ours))
    keys = dict.fromkeys([*before, *now])
    return [f"{key} was {before.get(key)} and is {now.get(key)}" for key in keys if before.get(key) != now.get(key)]


def _match(sweep: Sweep, recorded: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[Job]]:
    """Returns the recorded jobs, with the overrides that are asked for now, and the jobs that are new."""
    wanted = {job.identity: job for job in sweep.jobs}
    content = []
    for old in recorded:
        job = wanted.pop(_identity(old), None)
        if job is None:
            raise UserError(
                f"{sweep.folder}: job {old['number']} ({' '.join(old['overrides'])}) was part of this sweep and is not "
                f"now{_difference(old, list(wanted.values()) or sweep.jobs)}; "
                "ask for all jobs as before, add values, or choose another hydra.sweep.dir"
            )
        content.append({**old, "overrides": list(job.overrides)})
    return content, list(wanted.values())


def _identity(old: Mapping[str, Any]) -> str:
    return Job(old["overrides"], old["config"]).identity


def _difference(old: Mapping[str, Any], candidates: Sequence[Job]) -> str:
    """Says what differs between a recorded job and the most similar one that is asked for."""
    differing = min((changes(old["config"], job.config) for job in candidates), key=len, default=[])
    return f": {'; '.join(differing[:5])}" if differing else ""


def _threads(sweep: Sweep, recorded: Mapping[str, Any]) -> int:
    before: int | None = recorded.get("threads")
    if before is not None and sweep.threads not in (None, before):
        raise UserError(
            f"sweep.threads={sweep.threads}: the jobs in {sweep.folder} have {before} threads, on which their results "
            "depend; leave sweep.threads out, or choose another hydra.sweep.dir"
        )
    return before or sweep.threads or max(1, len(os.sched_getaffinity(0)) // sweep.n_jobs)


def _check_folders(content: Sequence[Mapping[str, Any]]) -> None:
    seen: dict[str, int] = {}
    for job in content:
        first = seen.setdefault(job["folder"], job["number"])
        if first != job["number"]:
            raise UserError(
                f"hydra.sweep.subdir gives jobs {first} and {job['number']} the same folder {job['folder']}; "
                "use hydra.sweep.subdir='${hydra.job.num}', the default"
            )


def _numbered(folder: Path, job: Mapping[str, Any]) -> Numbered:
    return Numbered(job["number"], folder / job["folder"], job["overrides"], job["config"], job.get("error"))
