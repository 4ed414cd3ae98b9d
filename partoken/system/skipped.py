"""Inputs that a user gave and a run does not use: their reasons, their table, and how many are too many."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from partoken.errors import UserError
from partoken.system.tables import write_table

__all__ = ["Skipped", "check_skipped", "write_skipped"]

SHOWN = 20
"""Skipped inputs that an error message lists."""


@dataclass(frozen=True)
class Skipped:
    """An input that is not used."""

    id: str
    """Name of the item, such as a chain or a label; empty if the whole file is meant."""
    file: str
    """The file, as the user named it."""
    reason: str
    """Why it is not used, in words for a person."""
    unusable: bool = True
    """True if something that was meant to be used is lost; False for a copy, or for what nobody asked for."""


def write_skipped(path: str | os.PathLike[str], skipped: Sequence[Skipped]) -> None:
    """Writes a CSV table `id,file,reason` with one row per skipped input, whole or not at all."""
    fields = ("id", "file", "reason")
    write_table(path, fields, ({name: getattr(item, name) for name in fields} for item in skipped))


def check_skipped(skipped: Sequence[Skipped], num_inputs: int, max_skipped: float) -> None:
    """Refuses data of which too large a share cannot be used.

    Arguments:
        skipped: the inputs that are not used.
        num_inputs: number of inputs given.
        max_skipped: the largest share of unusable inputs that is accepted, 0 to 1: `data.max_skipped`.

    Raises:
        UserError: with the first reasons.

    >>> check_skipped([Skipped("", "a.pdb", "empty file")], num_inputs=10, max_skipped=0.1)
    """
    lost = [item for item in skipped if item.unusable]
    share = len(lost) / max(num_inputs, 1)
    if share <= max_skipped:
        return
    lines = [
        f"{len(lost)} of {num_inputs} inputs ({share:.0%}) cannot be used, more than data.max_skipped={max_skipped:g} "
        "allows. Repair them, or raise data.max_skipped:",
        *(f"  {item.id or item.file}: {item.reason}" for item in lost[:SHOWN]),
    ]
    if len(lost) > SHOWN:
        lines.append(f"  and {len(lost) - SHOWN} more, see skipped.csv in the run folder")
    raise UserError("\n".join(lines))
