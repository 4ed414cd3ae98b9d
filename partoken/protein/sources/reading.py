"""Reads PDB and mmCIF files into clean backbones. Imports no torch, so that worker processes start fast.

A file gives every protein chain of its first model. Residues keep the order of the file, insertion codes included. Each
residue keeps the conformer with the highest occupancy; a modified residue gets the letter of its parent. A missing atom
is NaN. If the atoms of a residue are impossibly far apart or close, all atoms of the residue are NaN.
"""

import os
from collections import Counter
from dataclasses import dataclass

import numpy as np

from partoken.protein.chains.backbone import Backbone, encode
from partoken.protein.chains.validation import MIN_LENGTH, UnusableChain, validate
from partoken.protein.sources.atoms import Atoms, UnusableFile
from partoken.protein.sources.binary_cif import experiment_text, is_binary_cif, read_binary_cif
from partoken.protein.sources.confidence import NoConfidence, mean_confidence, read_confidences
from partoken.protein.sources.content import MAX_FILE_MB, read_content
from partoken.protein.sources.finding import stem_of
from partoken.protein.sources.mmcif import is_mmcif, read_mmcif
from partoken.protein.sources.molecules import ListedChain, chains_of
from partoken.protein.sources.pdb import is_pdb, read_pdb
from partoken.protein.sources.residue_names import residue_names
from partoken.system.skipped import Skipped
from partoken.system.user_files import printable

__all__ = ["FileContent", "read_file"]


@dataclass(frozen=True)
class FileContent:
    """The result of reading one file."""

    chains: list[Backbone]
    skipped: list[Skipped]
    """The whole file, or single chains."""
    notes: Counter[str]
    """Number of residues, chains or models that each kind of cleaning changed."""


def read_file(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    max_file_mb: float = MAX_FILE_MB,
    min_plddt: float | None = None,
    keep_names: bool = False,
) -> FileContent:
    """Reads the protein chains of one file. A bad file is reported in the result; it never raises an error.

    The content decides the format, also of packed files; the extension does not matter.

    Arguments:
        path: the file, or a member of an archive, see `list_structures`.
        name: name of the file in the result; None takes `path`.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        max_file_mb: largest size of the file, unpacked, in units of 2^20 bytes.
        min_plddt: lowest confidence, 0 to 100; residues below it count as missing. None: the confidence is not read.
        keep_names: True: the chains have the names and numbers of their residues.

    Returns:
        Chains with the fields `file` and `chain`, skipped inputs and counts. A chain has the name of its file, followed
        by its own name if the file has several chains: `1abc_A`. With `min_plddt` the field `confidence` is the mean
        over the residues of the chain, from 0 to 100; it is missing for an experimental structure.
    """
    shown = printable(str(path) if name is None else name)
    try:
        notes: Counter[str] = Counter()
        content = read_content(path, max_file_mb)
        listed = _listed_chains(content, notes, b_factors=min_plddt is not None)
        confidences = None
        if min_plddt is not None:
            header = experiment_text(content) if is_binary_cif(content) else content
            confidences = read_confidences(header, [one.b_factors for one in listed], notes)
    except (UnusableFile, NoConfidence) as reason:
        return FileContent([], [Skipped("", shown, str(reason))], Counter())
    stem = printable(stem_of(path))
    chains, skipped = [], []
    for number, one in enumerate(listed):
        chain_id = f"{stem}_{one.name}" if one.name and len(listed) > 1 else stem
        coords, fields, low = one.coords, {"file": shown, "chain": one.name}, ""
        if min_plddt is not None and confidences is not None:
            is_low = confidences[number] < min_plddt
            coords = np.where(is_low[:, None, None], np.nan, coords)
            fields["confidence"] = mean_confidence(confidences[number])
            notes[f"residues below min_plddt={min_plddt:g}"] += int(is_low.sum())
            low = f"; {is_low.sum()} residues are below min_plddt={min_plddt:g}"
        try:
            points, impossible = validate(coords, min_length=min_length, max_length=max_length)
        except UnusableChain as reason:
            skipped.append(Skipped(chain_id, shown, str(reason) + low, unusable=False))
            continue
        notes["residues with impossible geometry"] += impossible
        names = residue_names(path, one) if keep_names else None
        chains.append(Backbone(chain_id, points, encode(one.letters), fields, names))
    if not chains:
        more = f" (the first of {len(skipped)} unusable chains)" if len(skipped) > 1 else ""
        skipped = [Skipped("", shown, skipped[0].reason + more)]
    incomplete = [np.isnan(c.coords[:, :, 0].T).any(0) for c in chains]
    notes["residues with missing backbone atoms"] += sum(int(np.count_nonzero(i)) for i in incomplete)
    return FileContent(chains, skipped, +notes)


def _listed_chains(content: bytes, notes: Counter[str], *, b_factors: bool = True) -> list[ListedChain]:
    """Returns the protein chains in a file; an error of any kind becomes the reason why there are none."""
    try:
        atoms = _atoms(content, b_factors)
        notes["further models"] += atoms.further_models
        listed = chains_of(atoms, notes)
    except UnusableFile:
        raise
    except Exception as error:  # one file must not end the reading of the others
        reason = str(error).strip().partition("\n")[0][:200]
        raise UnusableFile(f"cannot be read: {type(error).__name__}: {reason}") from None
    if not listed:
        raise UnusableFile("no protein chain with backbone atoms")
    return listed


def _atoms(content: bytes, b_factors: bool) -> Atoms:
    """Reads the atoms of the first model; the content decides the format."""
    if is_binary_cif(content):
        return read_binary_cif(content, b_factors=b_factors)
    if is_mmcif(content):
        return read_mmcif(content, b_factors=b_factors)
    if is_pdb(content):
        return read_pdb(content, b_factors=b_factors)
    raise UnusableFile("no atom records, neither of PDB nor of mmCIF")
