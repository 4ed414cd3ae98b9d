"""Which checkpoint the key `resume` means."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.errors import NothingToDo, UserError
from partoken.resume_keys import AUTO, LATEST, check_resume, forks_off
from partoken.system.checkpoint import read_checkpoint
from partoken.system.run_folder import STATUS
from partoken.system.run_status import read_status

__all__ = ["choose_start", "newest_checkpoint"]

log = logging.getLogger(__name__)


def choose_start(groups: Mapping[str, Any], folder: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the groups with the checkpoint that `resume` means as `train.resume_from`.

    With `resume=auto`, a run that was killed before its first checkpoint begins anew in its folder.

    Arguments:
        groups: of the configuration, plain.
        folder: the run folder.
        overrides: of the command line.

    Raises:
        UserError: there is no checkpoint, or none that can be read.
        NothingToDo: with `resume=auto`, the same command has already finished the run.
    """
    check_resume(groups)
    resume = groups.get("resume")
    if resume is None:
        return dict(groups)
    if resume == AUTO:
        _check_unfinished(folder, overrides)
    place = folder if resume in (AUTO, LATEST) else Path(resume)
    found = place if place.is_file() else newest_checkpoint(place)
    if found is not None:
        return {**groups, "train": {**groups["train"], "resume_from": str(found)}}
    if resume == AUTO and forks_off(groups["train"].get("schedule")):
        raise UserError(
            f"resume=auto: {place} holds no fork that could go on; begin one with resume=CHECKPOINT of its trunk"
        )
    if resume == AUTO:
        is_own = (folder / STATUS).is_file() and not (folder / "summary.json").is_file()
        return {**groups, "overwrite": True} if is_own else dict(groups)
    raise UserError(
        f"resume={resume}: {place} has no checkpoint from which a run could go on; name the folder of a run with "
        f"{'hydra.run.dir=FOLDER' if resume == LATEST else 'resume=FOLDER'}, or leave resume out to start a new one"
    )


def newest_checkpoint(folder: Path) -> Path | None:
    """Returns the newest checkpoint of a run that can be read; it names those that cannot. None: there are none.

    The last checkpoint of the run comes first, then the others from new to old: the best one, those of finished stages
    and those that a callback has kept.

    Arguments:
        folder: of the run.

    Raises:
        UserError: there are checkpoints, and none of them can be read.
    """
    own = folder / "checkpoints"
    last = own / "last.ckpt"
    others = sorted({*own.glob("**/*.ckpt")} - {last}, key=lambda path: path.stat().st_mtime, reverse=True)
    candidates = [*([last] if last.is_file() else []), *others]
    for candidate in candidates:
        try:
            read_checkpoint(candidate)
        except UserError as error:
            log.warning("passed over: %s", error)
        else:
            return candidate
    if candidates:
        names = ", ".join(str(path.relative_to(folder)) for path in candidates)
        raise UserError(
            f"{folder}: none of its checkpoints can be read ({names}); restore one from a copy, or begin again with "
            "overwrite=true"
        )
    return None


def _check_unfinished(folder: Path, overrides: Sequence[str]) -> None:
    """Ends a command that has already finished its run."""
    status = read_status(folder)
    if status.status != "finished" or not (folder / "summary.json").is_file():
        return
    if _without_resume(status.overrides) == _without_resume(overrides):
        raise NothingToDo(f"resume=auto: the run in {folder} is finished; raise train.epochs to train it further")


def _without_resume(overrides: Sequence[str]) -> list[str]:
    return sorted(word for word in overrides if not word.startswith("resume="))
