"""The folder of a run: whether it is free, and what a refused run takes out of it again."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from partoken.errors import UserError
from partoken.system.locks import is_locked

__all__ = ["CONFIGURATION", "LOCK", "STATUS", "Snapshot", "check_still_there", "list_results"]

LOCK = ".lock"
STATUS = "status.json"

RESULTS = ("checkpoints", "lr.csv", "metrics.csv", "summary.json")
"""What only a run that has trained or tested leaves."""
CONFIGURATION = ".hydra"
BEGINNING = {CONFIGURATION, LOCK, "run.log", STATUS}
"""What a run writes before it has read its data."""


def list_results(folder: Path) -> list[str]:
    """Returns the names of the results of a run in a folder, which may be missing.

    Arguments:
        folder: the run folder.
    """
    return [name for name in RESULTS if (folder / name).is_file() or _names_in(folder / name)]


def check_still_there(folder: Path) -> None:
    """Ends a run whose folder was deleted, because a new one would hold a part of its results only.

    Arguments:
        folder: the run folder.

    Raises:
        UserError: it does not exist any more.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder}: the run folder was deleted or moved while the run trained, so its results have no place; "
            "start the run again, or move the folder back and go on with resume=latest"
        )


@dataclass(frozen=True)
class Snapshot:
    """A run folder before a run begins in it."""

    folder: Path
    is_new: bool
    """Whether the run created the folder."""
    names: frozenset[str]
    """What was in the folder."""
    results: dict[str, int]
    """When each result last changed, in nanoseconds."""
    contents: dict[Path, bytes]
    """Of the files that a run replaces before it has read its data."""

    @classmethod
    def take(cls, folder: Path, began: float) -> "Snapshot":
        """Remembers a folder.

        Arguments:
            folder: the run folder, which exists.
            began: time in seconds at which it did not exist yet, if it is new.
        """
        names = _names_in(folder)
        files = [folder / STATUS, *(folder / CONFIGURATION).glob("*.yaml")]
        contents = {file: file.read_bytes() for file in files if file.is_file()}
        is_new = not names and folder.stat().st_mtime >= began
        return cls(folder, is_new, names, _changes(folder), contents)

    def undo(self) -> None:
        """Takes back what a run wrote that was refused; not if it had read its data, which leaves a report."""
        if not self.folder.is_dir():
            return
        added = _names_in(self.folder) - self.names
        if not added <= BEGINNING or _changes(self.folder) != self.results or is_locked(self.folder / LOCK):
            return  # the last: another run has begun here
        for name in added:
            if (self.folder / name).is_dir():
                shutil.rmtree(self.folder / name)
            else:
                (self.folder / name).unlink(missing_ok=True)
        for file, content in self.contents.items():
            if file.read_bytes() != content:
                file.write_bytes(content)
        if self.is_new:
            self.folder.rmdir()


def _names_in(folder: Path) -> frozenset[str]:
    return frozenset(os.listdir(folder) if folder.is_dir() else ())


def _changes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in list_results(folder)}
