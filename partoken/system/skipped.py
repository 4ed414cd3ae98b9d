"""Inputs that a run cannot use: the reason for each, their table, and the limit on their number."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from partoken.errors import UserError
from partoken.system.tables import write_table

__all__ = ["Skipped", "check_skipped", "write_skipped"]

SHOWN = 20
"""Largest number of skipped inputs that an error message lists."""


@dataclass(frozen=True)
class Skipped:
    """An input that is not used."""

    id: str
    """Name of the item, such as a chain or a label; empty for a whole file."""
    file: str
    """The file, as the user named it."""
    reason: str
    """Why the input is not used, in words for a person."""
    unusable: bool = True
    """True if the user asked for this input; False for a duplicate and for an input that was not asked for."""


def write_skipped(path: str | os.PathLike[str], skipped: Sequence[Skipped]) -> None:
    """Writes a CSV table `id,file,reason` with one row per skipped input, completely or not at all.

    Arguments:
        path: the file, such as `skipped.csv` in a run folder.
        skipped: the inputs that are not used; an empty sequence gives a table without rows.

    Raises:
        OSError: the file cannot be written.
    """
    fields = ("id", "file", "reason")
    rows = ({name: getattr(item, name) for name in fields} for item in skipped)
    write_table(path, fields, rows)


def check_skipped(skipped: Sequence[Skipped], num_inputs: int, max_skipped: float) -> None:
    """Rejects data if too many of its inputs are unusable.

    Arguments:
        skipped: the inputs that are not used.
        num_inputs: number of inputs given.
        max_skipped: the largest accepted fraction of unusable inputs, 0 to 1: `data.max_skipped`.

    Raises:
        UserError: the fraction is larger; the message lists the first reasons.

    >>> check_skipped([Skipped("", "a.pdb", "empty file")], num_inputs=10, max_skipped=0.1)
    """
    unusable = [item for item in skipped if item.unusable]
    fraction = len(unusable) / max(num_inputs, 1)
    if fraction <= max_skipped:
        return
    lines = [
        f"{len(unusable)} of {num_inputs} inputs ({fraction:.0%}) cannot be used, "
        f"more than data.max_skipped={max_skipped:g} allows. Repair them, or raise data.max_skipped:",
        *(f"  {item.id or item.file}: {item.reason}" for item in unusable[:SHOWN]),
    ]
    if len(unusable) > SHOWN:
        lines.append(f"  and {len(unusable) - SHOWN} more, see skipped.csv in the run folder")
    raise UserError("\n".join(lines))
