"""What is read of structure files: a row for each chain, file and chain that is skipped with its reason."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from partoken.errors import check_number
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.one_type import one_type
from partoken.protein.chains.validation import MIN_LENGTH
from partoken.protein.sources.confidence import check_min_plddt
from partoken.protein.sources.content import MAX_FILE_MB
from partoken.protein.sources.finding import stem_of
from partoken.protein.sources.reading import FileContent
from partoken.protein.sources.structures import check_any, read_contents
from partoken.system.skipped import Skipped
from partoken.system.tables import write_table
from partoken.system.user_files import check_output, printable

__all__ = ["inspect_files"]

COLUMNS = ("file", "chain", "residues", "complete", "missing", "sequence", "notes")
CONFIDENCE = "confidence"
"""The last column, only with `min_plddt`: mean over the residues of the chain, 0 to 100."""
SHOWN_LETTERS = 30
"""Letters of a sequence that the printed table shows; the CSV file has all."""


@dataclass
class Inspection:
    """What was read of some files."""

    rows: list[dict[str, str]] = field(default_factory=list)
    """The rows of the table: those of chains, and those of skipped files and chains, whose numbers are empty."""
    skipped: list[Skipped] = field(default_factory=list)
    chains: int = 0
    residues: int = 0
    files: int = 0
    """Files of which a chain was read."""
    notes: Counter[str] = field(default_factory=Counter)
    """Number of residues, chains or models that each kind of cleaning changed, in all files."""
    _file_of: dict[str, str] = field(default_factory=dict)

    def add(self, content: FileContent) -> None:
        """Adds the rows of one file."""
        self.files += bool(content.chains)
        self.chains += len(content.chains)
        self.residues += sum(map(len, content.chains))
        self.notes += content.notes
        self.skipped += content.skipped
        of_file = [f"{kind} {count}" for kind, count in content.notes.items()]
        if of_file and len(content.chains) + len(content.skipped) > 1:
            of_file[0] = f"in the whole file: {of_file[0]}"
        for chain in content.chains:
            self.rows.append(_row(chain, [*self._of_name(chain), *of_file]))
        self.rows += [_skipped_row(skipped) for skipped in content.skipped]

    def _of_name(self, chain: Backbone) -> list[str]:
        """Notes that an earlier file has the same name without its ending, so that its chains have the same ids."""
        file = chain.fields["file"]
        first = self._file_of.setdefault(stem_of(file), file)
        return [] if first == file else [f"data=folder reads only the first file of this name, {first}"]


def inspect_files(
    paths: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    min_length: int = MIN_LENGTH,
    min_plddt: float | None = None,
    max_file_mb: float = MAX_FILE_MB,
) -> Iterator[str]:
    """Reads structure files and yields the lines of a table and a summary: `partoken inspect`.

    The table has a row for each chain: file, chain, residues, residues with N, CA and C (complete), the others
    (missing), sequence, notes. Skipped files and chains have a row with the reason.

    Arguments:
        paths: files, folders and patterns.
        out: a CSV file for the whole table, also if no chain could be read; None: it is only printed.
        min_length: number of residues with N, CA and C that a chain must have.
        min_plddt: lowest confidence of predicted residues, 0 to 100; None: the confidence is not read.
        max_file_mb: largest size of a file, unpacked, in units of 2^20 bytes.

    Raises:
        UserError: no chain could be read, an option is out of range, or `out` is no CSV file or in no folder.
        OSError: the CSV file cannot be written.
    """
    check_number("--min-length", min_length, minimum=1, whole=True)
    check_min_plddt("--min-plddt", min_plddt)
    check_number("--max-file-mb", max_file_mb, above=0)
    _check_out(out)
    limits: dict[str, Any] = {"min_length": min_length, "min_plddt": min_plddt, "max_file_mb": max_file_mb}
    found = Inspection()
    for content in read_contents(paths, limits):
        found.add(content)
    columns = COLUMNS if min_plddt is None else (*COLUMNS, CONFIDENCE)
    rows = [{name: row.get(name, "") for name in columns} for row in found.rows]
    if out is not None:
        write_table(out, columns, rows)
    check_any(found.chains, found.skipped)
    yield from _table(rows, columns)
    yield ""
    yield from _summary(found)
    if out is not None:
        yield f"written: {out}"


def _check_out(out: str | os.PathLike[str] | None) -> None:
    if out is not None:
        check_output("--out", out, ".csv")


def _row(chain: Backbone, notes: list[str]) -> dict[str, str]:
    """Returns the row of a chain; `notes` are those of its file."""
    complete = int(np.isfinite(chain.coords[:, :3]).all((1, 2)).sum())
    own = one_type(chain.sequence)
    return {
        "file": printable(chain.fields["file"]),
        "chain": printable(chain.fields["chain"]),
        "residues": str(len(chain)),
        "complete": str(complete),
        "missing": str(len(chain) - complete),
        "sequence": chain.letters,
        "notes": "; ".join([own, *notes] if own else notes),
        CONFIDENCE: chain.fields.get(CONFIDENCE, ""),
    }


def _skipped_row(skipped: Skipped) -> dict[str, str]:
    chain = skipped.id.removeprefix(stem_of(skipped.file)).removeprefix("_")
    return {
        "file": printable(skipped.file),
        "chain": printable(chain),
        "notes": printable(f"skipped: {skipped.reason}"),
    }


def _table(rows: list[dict[str, str]], columns: tuple[str, ...]) -> Iterator[str]:
    """Yields the lines of a table with aligned columns; the notes stand last."""
    shown = [*(name for name in columns if name != "notes"), "notes"]
    cells = [[name for name in shown], *([_cell(name, row[name]) for name in shown] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = [name in ("residues", "complete", "missing", CONFIDENCE) for name in shown]
    for line in cells:
        aligned = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, numbers, strict=True)
        ]
        yield "  ".join(aligned).rstrip()


def _cell(name: str, text: str) -> str:
    if name == "sequence" and len(text) > SHOWN_LETTERS:
        return f"{text[: SHOWN_LETTERS - 3]}..."
    return text


def _summary(found: Inspection) -> Iterator[str]:
    """Yields lines on what was read of all files."""
    skipped_files = sum(not skipped.id and skipped.unusable for skipped in found.skipped)
    skipped_chains = sum(bool(skipped.id) for skipped in found.skipped)
    yield (
        f"{found.chains:,} chains with {found.residues:,} residues in {found.files:,} files; "
        f"skipped: {skipped_files:,} files, {skipped_chains:,} chains"
    )
    if found.notes:
        yield f"cleaned: {', '.join(f'{kind} {count:,}' for kind, count in found.notes.items())}"
