"""What a sweep asked for, kept in its folder, so that it keeps its job numbers when it is started again."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partoken.errors import UserError
from partoken.sweep.expand import Job, Sweep
from partoken.system.files import write_json
from partoken.system.locks import file_lock
from partoken.system.nested import changes, leaves

__all__ = [
    "FILE",
    "LOCK",
    "Numbered",
    "Record",
    "add_job",
    "job_threads",
    "open_search",
    "read_content",
    "read_jobs",
    "reconcile",
]

FILE = "sweep.json"
LOCK = ".sweep.lock"
"""Held while `sweep.json`, or the database of a search, is read and written."""
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
        if "search" in before:
            raise UserError(
                f"{sweep.folder} holds a search; go on with the keys that it had (sweep=search), or choose another "
                "hydra.sweep.dir"
            )
        content, added = _match(sweep, before["jobs"])
        number = max((job["number"] for job in content), default=-1) + 1
        content += [_entry(sweep.folder, job, number + offset) for offset, job in enumerate(added)]
        _check_folders(content)
        threads = _threads(sweep, before)
        _write(sweep, threads, content)
    return Record(threads, [_numbered(sweep.folder, job) for job in content])


def open_search(sweep: Sweep) -> Record:
    """Begins `sweep.json` of a search, or checks that it is of the same one. The caller holds the lock.

    Arguments:
        sweep: what the command line asks for; how it chooses may differ from before, its choices may not.

    Returns:
        What the folder knows now.

    Raises:
        UserError: the folder has another search, or a sweep without one; other threads are asked for.
    """
    assert sweep.search is not None
    before = read_content(sweep.folder)
    search = {
        **sweep.search.plain(),
        "space": {item.key: item.plain() for item in sweep.space},
        "fixed": dict(sweep.fixed),
    }
    if before["jobs"] and "search" not in before:
        raise UserError(f"{sweep.folder} holds a sweep that is no search; choose another hydra.sweep.dir")
    if "search" in before:
        differing = _differing({**before, **before["search"]}, {**search, **_metric(sweep)})
        if differing:
            raise UserError(
                f"{sweep.folder} holds another search: {'; '.join(differing[:5])}; give the keys as before, or choose "
                "another hydra.sweep.dir"
            )
    threads = _threads(sweep, before)
    _write(sweep, threads, before["jobs"], search)
    return Record(threads, [_numbered(sweep.folder, job) for job in before["jobs"]])


def add_job(sweep: Sweep, number: int, job: Job) -> Numbered:
    """Adds a job of a search to `sweep.json`. The caller holds the lock.

    Raises:
        UserError: its folder holds another run.
    """
    content = read_content(sweep.folder)
    entry = _entry(sweep.folder, job, number)
    jobs = [*content["jobs"], entry]
    _check_folders(jobs)
    write_json(sweep.folder / FILE, {**content, "jobs": jobs})
    return _numbered(sweep.folder, entry)


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


def _write(
    sweep: Sweep, threads: int, jobs: Sequence[Mapping[str, Any]], search: Mapping[str, Any] | None = None
) -> None:
    head = {"version": VERSION, **_metric(sweep), "threads": threads}
    write_json(sweep.folder / FILE, {**head, **({} if search is None else {"search": search}), "jobs": jobs})


def _metric(sweep: Sweep) -> dict[str, str]:
    return {"metric": sweep.metric, "direction": sweep.direction}


def _entry(sweep: Path, job: Job, number: int) -> dict[str, Any]:
    """Returns what `sweep.json` says of a new job."""
    folder = job.subfolder(number)
    if (sweep / folder / "status.json").exists() or (sweep / folder / ".hydra").exists():
        raise UserError(f"{sweep / folder} holds a run that is not of this sweep; choose another hydra.sweep.dir")
    return {
        "number": number,
        "folder": folder,
        "overrides": list(job.overrides),
        "config": dict(job.config),
        **({"error": job.error} if job.error else {}),
    }


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a phrase for each choice of a search, and each value that it does not choose, that differs."""
    keys = [key for key in ("metric", "direction") if before[key] != now[key]]
    found = [f"sweep.{key} was {before[key]} and is {now[key]}" for key in keys]
    theirs, ours = before["space"], json.loads(json.dumps(now["space"]))
    for key in dict.fromkeys([*theirs, *ours]):
        if theirs.get(key) != ours.get(key):
            found.append(f"the values of {key} were {theirs.get(key)} and are {ours.get(key)}")
    chosen = {key.lstrip("+") for key in [*theirs, *ours]}
    fixed = ({key: value for key, value in leaves(part["fixed"]) if key not in chosen} for part in (before, now))
    return found + changes(*fixed)


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
