"""The keys `resume` and `checkpoint`: where a run goes on, and how often it can be gone on with. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from partoken.errors import UserError, check_number, check_text, did_you_mean

__all__ = ["AUTO", "LATEST", "CheckpointSettings", "check_resume", "folder_to_resume", "forks_off"]

LATEST = "latest"
AUTO = "auto"

TIMES = ("${start:", "${now:", "${unique:")
"""Parts of `hydra.run.dir` with which each run gets a new folder."""


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """How often a run writes `checkpoints/last.ckpt` within an epoch; it is also written at the end of each epoch.

    Raises:
        UserError: a value that cannot be used, naming its key.
    """

    every_n_steps: int | None = None
    """Optimizer steps after which it is written, 1 or more. None: steps are not counted."""
    every_minutes: float | None = 5
    """Minutes after which it is written, at the end of an optimizer step, above 0. None: time does not count."""

    @classmethod
    def read(cls, source: Any) -> Self:
        """Creates the settings from the `checkpoint` group of the configuration.

        Raises:
            UserError: an unknown key or a value that cannot be used.
        """
        known = [item.name for item in fields(cls)]
        if not isinstance(source, Mapping):
            raise UserError(
                f"checkpoint={source!r}: has keys of its own; set checkpoint.{' or checkpoint.'.join(known)}"
            )
        for key in source:
            if key not in known:
                raise UserError(f"checkpoint.{key} is not a key of the configuration.{did_you_mean(str(key), known)}")
        return cls(**source)

    def __post_init__(self) -> None:
        check_number("checkpoint.every_n_steps", self.every_n_steps, minimum=1, whole=True, optional=True)
        check_number("checkpoint.every_minutes", self.every_minutes, above=0, optional=True)


def check_resume(groups: Mapping[str, Any]) -> None:
    """Checks `resume` beside the keys that it excludes.

    Arguments:
        groups: of the configuration, plain; missing keys have their defaults.

    Raises:
        UserError: naming the keys.
    """
    resume, source = groups.get("resume"), groups["train"].get("resume_from")
    check_text("resume", resume, optional=True)
    if resume is None:
        if source is None and groups.get("fit", True) and forks_off(groups["train"].get("schedule")):
            raise UserError(
                "schedule.segments[0].length=done: a fork, as with schedule=cooldown, goes on from a checkpoint and "
                "none is given; name it with resume=CHECKPOINT"
            )
        return
    if source is not None:
        raise UserError(
            f"resume={resume} and train.resume_from={source}: both say where the run goes on; leave out one of them"
        )
    if not groups.get("fit", True):
        raise UserError(
            f"resume={resume} and train=false: a test continues no run; name the checkpoint with "
            "train.resume_from=RUN_FOLDER/checkpoints/best.ckpt"
        )


def forks_off(schedule: Any) -> bool:
    """Returns whether a run forks off a checkpoint: its first segment is what the checkpoint has done.

    Arguments:
        schedule: the group of the configuration, which need not be valid.
    """
    listed = schedule.get("segments") if isinstance(schedule, Mapping) else None
    first = listed[0] if isinstance(listed, Sequence) and listed else None
    return isinstance(first, Mapping) and first.get("length") == "done"


def folder_to_resume(resume: str | None, run_dir: str) -> Path | None:
    """Returns the run folder in which a run goes on if the command line names none.

    Arguments:
        resume: the key.
        run_dir: `hydra.run.dir` with its interpolations, such as `outputs/${start:%Y-%m-%d}`.

    Returns:
        With "latest" the current folder, if it is that of a run, else the folder below `outputs` whose last checkpoint
        is the newest. None: the run has the folder `run_dir`.

    Raises:
        UserError: there is no run, or `resume` needs a folder with a name.
    """
    if resume not in (AUTO, LATEST) or not any(part in run_dir for part in TIMES):
        return None
    if resume == AUTO:
        raise UserError("resume=auto: every run would get a new folder; give the run one with hydra.run.dir=FOLDER")
    here = Path.cwd()
    if (here / "checkpoints").is_dir():
        return here
    base = here / run_dir.partition("${")[0]
    found = sorted(base.rglob("checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(
            f"resume=latest: no run with a checkpoint in {base}; name its folder with hydra.run.dir=FOLDER, or leave "
            "resume out to start a new run"
        )
    return found[-1].parents[1]
