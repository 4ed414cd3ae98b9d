"""The protein chains of any structure files, for a script or a table: `partoken.read`."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, overload

from partoken.errors import UserError, check_number
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.validation import MIN_LENGTH
from partoken.protein.sources.confidence import check_min_plddt
from partoken.protein.sources.content import MAX_FILE_MB
from partoken.protein.sources.finding import list_structures
from partoken.protein.sources.reading import FEW_FILES, FileContent, read_files
from partoken.system.parallel import map_together
from partoken.system.skipped import Skipped
from partoken.system.user_files import printable

__all__ = ["Structures", "check_any", "read_contents", "read_structures"]

SHOWN = 20
"""Largest number of reasons that an error message lists."""


@dataclass(frozen=True)
class Structures(Sequence[Backbone]):
    """The chains that were read, in the order of their files: a sequence of `Backbone`."""

    chains: list[Backbone]
    """Each has `id`, `letters`, `coords`, and in `fields` the `file` and the `chain`."""
    skipped: list[Skipped] = field(default_factory=list)
    """Files and chains that could not be read, with the reasons."""
    notes: Counter[str] = field(default_factory=Counter)
    """Number of residues, chains or models that each kind of cleaning changed."""

    @overload
    def __getitem__(self, index: int) -> Backbone: ...

    @overload
    def __getitem__(self, index: slice) -> list[Backbone]: ...

    def __getitem__(self, index: int | slice) -> Backbone | list[Backbone]:
        return self.chains[index]

    def __len__(self) -> int:
        return len(self.chains)


def read_structures(
    *paths: str | os.PathLike[str],
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    min_plddt: float | None = None,
    max_file_mb: float = MAX_FILE_MB,
    workers: int | None = None,
) -> Structures:
    """Reads the protein chains of structure files, as `data=folder` and `partoken predict` read them.

    Arguments:
        paths: files, folders (their structure files at any depth), tar archives and patterns such as `pdb/*.cif`.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        min_plddt: lowest confidence of predicted residues, 0 to 100; None: the confidence is not read.
        max_file_mb: largest size of a file, unpacked, in units of 2^20 bytes.
        workers: number of processes that parse files; None takes all cores for many files.

    Raises:
        UserError: no chain could be read, or `min_plddt` is out of range.
    """
    check_min_plddt("min_plddt", min_plddt)
    check_number("max_file_mb", max_file_mb, above=0)
    limits: dict[str, Any] = {
        "min_length": min_length,
        "max_length": max_length,
        "min_plddt": min_plddt,
        "max_file_mb": max_file_mb,
    }
    read = Structures([])
    for content in read_contents(paths, limits, workers):
        read.chains.extend(content.chains)
        read.skipped.extend(content.skipped)
        read.notes.update(content.notes)
    check_any(len(read.chains), read.skipped)
    return read


def read_contents(
    paths: Iterable[str | os.PathLike[str]], limits: Mapping[str, Any], workers: int | None = None
) -> Iterator[FileContent]:
    """Yields what is read of each file, in the order of the paths; a path without a file comes first, as skipped.

    Arguments:
        paths: files, folders and patterns.
        limits: keyword arguments of `read_files`.
        workers: as for `read_structures`.
    """
    files, missing = list_structures(paths)
    for skipped in missing:
        yield FileContent([], [skipped], Counter())
    yield from map_together(
        partial(read_files, **limits),
        [(file, None) for file in files],
        when_killed=_killed,
        description="reading structures",
        workers=workers,
        few=FEW_FILES,
    )


def check_any(num_chains: int, skipped: Sequence[Skipped]) -> None:
    """Rejects paths of which no chain could be read.

    Raises:
        UserError: there is no chain; the message lists the first reasons.
    """
    if num_chains:
        return
    reasons = "\n".join(f"  {item.id or item.file}: {item.reason}" for item in skipped[:SHOWN])
    more = f"\n  and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
    raise UserError(f"no protein chain could be read from the given paths:\n{reasons}{more}")


def _killed(file: tuple[str | os.PathLike[str], None]) -> FileContent:
    """Returns the result for a file on which the reading process died."""
    return FileContent([], [Skipped("", printable(os.fspath(file[0])), "reading it killed the process")], Counter())
