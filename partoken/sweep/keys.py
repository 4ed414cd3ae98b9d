"""Finds out which keys of the configuration differ between the jobs of a sweep; imports no torch."""

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from partoken.resume_keys import forks_off
from partoken.sweep.expand import NO_EFFECT, NOT_PART
from partoken.sweep.results import JobResult
from partoken.system.nested import leaves

__all__ = ["ABSENT", "SEED", "DifferingKeys", "brief", "differing_keys", "short_names", "shown"]

SEED = "train.seed"
"""Jobs that differ in this key only are repetitions of one another."""
ABSENT = ""
"""Value of a key that the configuration of a job does not have."""
OVERRIDE = re.compile(r"\+{0,2}([\w./@-]+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class DifferingKeys:
    """The keys whose values vary over the jobs of a sweep."""

    every: list[str]
    """All of them."""
    main: list[str]
    """Those that tell all jobs apart; the others change together with one of these. `train.seed` is the last."""
    followers: dict[str, list[str]]
    """Keys that change together with a main key, by main key."""
    values: list[dict[str, Any]]
    """The value of every key, for each job."""


def differing_keys(jobs: Sequence[JobResult]) -> DifferingKeys:
    """Returns the keys whose values vary over jobs, and their values.

    A key that an interpolation or the choice of an option sets together with another one follows that key. The choice
    of an option of a group, such as `model=small`, is a key of its own.

    Arguments:
        jobs: with their configurations and overrides.
    """
    overridden = [_overrides(job) for job in jobs]
    settings = [_values(job) or _typed(own) for job, own in zip(jobs, overridden, strict=True)]
    names = dict.fromkeys(key for own in [*overridden, *settings] for key in own)
    composed = {key for job, own in zip(jobs, settings, strict=True) if job.config for key in own}
    choices = {key for key in names if "." not in key and key not in composed}
    columns = {
        key: [own.get(key, ABSENT) for own in (overridden if key in choices else settings)]  # one per job
        for key in names
        if key in choices or any(key in own for own in settings)
    }
    every = [key for key, column in columns.items() if _varies(key, column, jobs, settings)]
    asked = {key for own in overridden for key in own}
    known = [i for i, job in enumerate(jobs) if job.config]
    main, followers = _main_keys(every, asked, {key: [columns[key][i] for i in known] for key in every})
    values = [{key: columns[key][i] for key in every} for i in range(len(jobs))]
    return DifferingKeys(every, main, followers, values)


def shown(value: Any) -> str:
    """Returns a value as it is typed on a command line.

    >>> [shown(value) for value in (None, True, 1e-05, "sgd", [16, 4])]
    ['null', 'true', '1e-05', 'sgd', '[16,4]']
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, separators=(",", ":"), default=str)


def brief(value: Any) -> str:
    """Returns a value as in `shown`, with at most five digits of a number.

    >>> brief(0.00084950849189), brief(True)
    ('0.00084951', 'true')
    """
    return f"{value:.5g}" if isinstance(value, float) else shown(value)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Returns for each key its shortest end that is unique among the keys.

    >>> short_names(["train.lr", "train.optimizers.g.lr", "model.nhid"])
    {'train.lr': 'train.lr', 'train.optimizers.g.lr': 'g.lr', 'model.nhid': 'nhid'}
    """
    found = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]
        others = [f".{other}" for other in keys if other != key]
        found[key] = next((end for end in ends if not any(other.endswith(f".{end}") for other in others)), key)
    return found


def _values(job: JobResult) -> dict[str, Any]:
    """Returns the keys of a job that may change its training, and their values."""
    groups = {name: group for name, group in job.config.items() if name not in NOT_PART}
    derived = _derived(groups)
    folders = sorted({str(job.folder), str(job.folder.absolute()), str(job.folder.resolve())}, key=len, reverse=True)
    found = {}
    for key, value in leaves(groups):
        if key in NO_EFFECT or key.startswith(derived):
            continue
        if isinstance(value, str):  # a file in the run folder is the same setting in every job
            for folder in folders:
                value = value.replace(folder, "RUN_FOLDER")
        found[key] = value
    if forks_off(job.config.get("schedule")):
        found["resume"] = job.config.get("resume")
    return found


def _overrides(job: JobResult) -> dict[str, str]:
    """Returns the keys and texts of a job's overrides."""
    matches = [OVERRIDE.fullmatch(word) for word in job.overrides]
    pairs = {match[1]: match[2] for match in matches if match}
    return {key: text for key, text in pairs.items() if not _is_without_effect(key)}


def _typed(overrides: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values of overrides, for a job without a configuration: it could not be composed, or was killed.

    >>> _typed({"train.lr": "1e-3", "train.optimizer": "sgd"})
    {'train.lr': 0.001, 'train.optimizer': 'sgd'}
    """
    found: dict[str, Any] = {}
    for key, text in overrides.items():
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def _varies(key: str, column: Sequence[Any], jobs: Sequence[JobResult], settings: Sequence[Mapping[str, Any]]) -> bool:
    """Checks that jobs have different values; what is not known of a job without a configuration does not count."""
    known = [i for i, job in enumerate(jobs) if job.config or key in settings[i]]
    return len({_identity(column[i]) for i in known}) > 1


def _is_without_effect(key: str) -> bool:
    return key in NO_EFFECT or re.split(r"[./@]", key)[0] in NOT_PART


def _main_keys(
    every: Sequence[str], asked: set[str], columns: Mapping[str, Sequence[Any]]
) -> tuple[list[str], dict[str, list[str]]]:
    """Chooses the keys to show: those asked for, and of the others the first that changes in its own way."""
    order = [key for key in every if key in asked and key != SEED]
    order += [SEED] if SEED in every else []
    order += [key for key in every if key not in asked and key != SEED]
    codes = {key: _codes(columns[key]) for key in every}
    # If each job has a seed of its own, other keys change together with the seed by chance.
    has_repeated_seeds = SEED in codes and len(set(codes[SEED])) < len(codes[SEED])
    main: list[str] = []
    followers: dict[str, list[str]] = {}
    for key in order:
        same = [other for other in main if key not in asked and codes[other] == codes[key]]
        equal = [other for other in same if list(columns[other]) == list(columns[key])]
        same = [other for other in same if other != SEED or other in equal or has_repeated_seeds]
        if key == SEED or not same:
            main.append(key)
        else:
            followers.setdefault((equal or same)[0], []).append(key)
    return [key for key in main if key != SEED] + [key for key in main if key == SEED], followers


def _codes(column: Sequence[Any]) -> tuple[int, ...]:
    """Numbers the values of a column in the order in which they first come."""
    numbers: dict[Hashable, int] = {}
    return tuple(numbers.setdefault(_identity(value), len(numbers)) for value in column)


def _identity(value: Any) -> Hashable:
    """Returns what two equal values have in common; 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return type(value).__name__, json.dumps(value, sort_keys=True, default=str)


def _derived(groups: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the beginnings of keys that the keys of a preset of `schedule` decide."""
    schedule, train = groups.get("schedule"), groups.get("train")
    if not isinstance(schedule, Mapping) or list(schedule) == ["segments"]:
        return ()
    is_copy = isinstance(train, Mapping) and train.get("schedule") == schedule
    return ("schedule.segments", "train.schedule.") if is_copy else ("schedule.segments",)
