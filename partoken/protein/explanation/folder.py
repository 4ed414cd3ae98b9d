"""Writes a folder that explains predictions: tables, a structure of each chain, scripts for viewers."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.explanation.file_atoms import FileAtoms, read_atoms
from partoken.protein.explanation.file_names import FileNames
from partoken.protein.explanation.scripts import chimerax_script, pymol_script
from partoken.protein.explanation.structures import chain_with_values, structure_text
from partoken.system.files import explain_full_disk
from partoken.system.tables import TableWriter

__all__ = ["PREDICTIONS", "RESIDUE_COLUMNS", "ExplainedChain", "check_folder", "write_explanations"]

PREDICTIONS, RESIDUES = "predictions.csv", "residues.csv"
STRUCTURES = "structures"
RESIDUE_COLUMNS = ("id", "chain", "number", "insertion_code", "residue", "position", "importance", "substructure")


@dataclass(frozen=True)
class ExplainedChain:
    """A chain with its answer and the importance of its L residues."""

    chain: Backbone
    """The chain, as it was read from a structure file."""
    row: Sequence[str]
    """Its row in the table of predictions; the first cell is its name."""
    importance: Sequence[float]
    """Importance of each residue."""
    substructures: Sequence[int]
    """Substructure of each residue, numbered from 0; -1 for none."""


def check_folder(out: Path) -> None:
    """Checks that a folder can be written.

    Raises:
        UserError: `out` is a file, or has the name of one.
    """
    is_file = not out.is_dir() if out.exists() else out.suffix.lower() in (".csv", ".pdb", ".cif", ".html", ".npz")
    if is_file:
        raise UserError(f"--out {out}: must be a folder, because --explain writes several files; choose another name")


def write_explanations(out: Path, header: Sequence[str], explained: Iterable[ExplainedChain]) -> int:
    """Writes the folder; files of the same names are replaced, other files stay.

    Everything is written to a hidden folder beside it first, and no file is ever half-written.

    Arguments:
        out: The folder; it is made if it does not exist.
        header: Columns of the table of predictions, of which the first is `id`.
        explained: The chains, in the order of their files.

    Returns:
        The number of chains.

    Raises:
        UserError: there is no chain, a structure that was read would be replaced, or no space is left on the disk.
        OSError: a file cannot be written.
    """
    with explain_full_disk(out), _hidden_folder(out) as hidden:
        (hidden / STRUCTURES).mkdir()
        files, sources = _write_chains(hidden, header, explained)
        if not files:
            return 0
        _check_sources(out, files, sources)
        (hidden / "importance.pml").write_text(pymol_script(files), encoding="utf-8")
        (hidden / "importance.cxc").write_text(chimerax_script(files), encoding="utf-8")
        (out / STRUCTURES).mkdir(parents=True, exist_ok=True)
        for file in (*files, "importance.pml", "importance.cxc", PREDICTIONS, RESIDUES):
            os.replace(hidden / file, out / file)
    return len(files)


@contextlib.contextmanager
def _hidden_folder(out: Path) -> Iterator[Path]:
    """Yields a folder on the file system of `out`, and removes it afterwards."""
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    hidden = Path(tempfile.mkdtemp(prefix=".partoken-", suffix=".partial", dir=existing))
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _write_chains(
    folder: Path, header: Sequence[str], explained: Iterable[ExplainedChain]
) -> tuple[list[str], list[Path]]:
    """Writes tables and structures.

    Returns:
        The names of the structures, relative to the folder, and the files that were read.
    """
    files, sources, names = [], [], FileNames()
    ids: set[str] = set()
    opened: tuple[str | os.PathLike[str], FileAtoms | None] | None = None
    with (
        open(folder / PREDICTIONS, "w", encoding="utf-8", newline="") as predictions,
        open(folder / RESIDUES, "w", encoding="utf-8", newline="") as residues,
    ):
        of_chains, of_residues = TableWriter(predictions), TableWriter(residues)
        of_chains.writerow([*header, "structure"])
        of_residues.writerow(RESIDUE_COLUMNS)
        for one in explained:
            assert one.chain.names is not None, "read from a structure file"
            source = one.chain.names.file
            if opened is None or opened[0] != source:
                opened = source, read_atoms(source)
            file = _write_structure(folder, opened[1], one, names)
            own_id = _unique(one.chain.id, ids)
            of_chains.writerow([own_id, *one.row[1:], file])
            of_residues.writerows(_residue_rows(own_id, one))
            files.append(file)
            sources.append(Path(source))
    return files, sources


def _write_structure(folder: Path, opened: FileAtoms | None, one: ExplainedChain, names: FileNames) -> str:
    """Writes the structure of a chain, and returns its name."""
    largest = max(one.importance) or 1.0
    percent = [100 * value / largest for value in one.importance]
    name = names.name(one.chain.id)
    text, extension = structure_text(chain_with_values(one.chain, percent, opened), name)
    file = f"{STRUCTURES}/{name}{extension}"
    (folder / file).write_text(text, encoding="utf-8")
    return file


def _residue_rows(own_id: str, one: ExplainedChain) -> Iterator[list[str | int]]:
    """Yields the rows of a chain in the table of residues."""
    residues, chain = one.chain.names, one.chain.fields["chain"]
    assert residues is not None, "read from a structure file"
    columns = residues.numbers, residues.insertion_codes, residues.names
    values = zip(*columns, one.importance, one.substructures, strict=True)
    for position, (number, code, name, importance, substructure) in enumerate(values):
        shown = substructure + 1 if substructure >= 0 else ""
        yield [own_id, chain, number, code, name, position, f"{importance:.6g}", shown]


def _unique(name: str, taken: set[str]) -> str:
    """Returns a name, with a number if another file has a chain of this name, and adds it to those that are taken."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    taken.add(free)
    return free


def _check_sources(out: Path, files: Iterable[str], sources: Iterable[Path]) -> None:
    """Checks that no file that was read would be replaced."""
    written = {(out / file).resolve() for file in files}
    for source in sources:
        if source.resolve() in written:
            raise UserError(f"--out {out}: the explanation would replace {source}; choose another folder")
