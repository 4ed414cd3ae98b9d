"""Reads PDB and mmCIF files into clean backbones. Imports no torch, so that worker processes start fast.

A file gives every protein chain of its first model. Residues keep the order of the file, insertion codes included. Each
residue keeps the conformer with the highest occupancy; a modified residue gets the letter of its parent. A missing atom
is NaN. If the atoms of a residue are impossibly far apart or close, all atoms of the residue are NaN.
"""

import codecs
import os
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from partoken.protein.chains.backbone import Backbone, encode
from partoken.protein.chains.validation import MIN_LENGTH, UnusableChain, validate
from partoken.protein.sources.atoms import Atoms, UnusableFile
from partoken.protein.sources.confidence import NoConfidence, mean_confidence, read_confidences
from partoken.protein.sources.finding import stem_of
from partoken.protein.sources.mmcif import is_mmcif, read_mmcif
from partoken.protein.sources.molecules import ListedChain, chains_of
from partoken.protein.sources.pdb import is_pdb, read_pdb
from partoken.system.skipped import Skipped

__all__ = ["FileContent", "read_file"]

MAX_BYTES = 1 << 30
"""Largest size of a file, unpacked."""


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
    min_plddt: float | None = None,
) -> FileContent:
    """Reads the protein chains of one file. A bad file is reported in the result; it never raises an error.

    The content decides the format, also of packed files; the extension does not matter.

    Arguments:
        path: the file.
        name: name of the file in the result; None takes `path`.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        min_plddt: lowest confidence, 0 to 100; residues below it count as missing. None: the confidence is not read.

    Returns:
        Chains with the fields `file` and `chain`, skipped inputs and counts. A chain has the name of its file, followed
        by its own name if the file has several chains: `1abc_A`. With `min_plddt` the field `confidence` is the mean
        over the residues of the chain, from 0 to 100; it is missing for an experimental structure.
    """
    shown = str(path) if name is None else name
    try:
        notes: Counter[str] = Counter()
        content = _read_text(Path(path))
        listed = _listed_chains(content, notes)
        confidences = None
        if min_plddt is not None:
            confidences = read_confidences(content, [one.b_factors for one in listed], notes)
    except (UnusableFile, NoConfidence) as reason:
        return FileContent([], [Skipped("", shown, str(reason))], Counter())
    stem = stem_of(path)
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
        chains.append(Backbone(chain_id, points, encode(one.letters), fields))
    if not chains:
        more = f" (the first of {len(skipped)} unusable chains)" if len(skipped) > 1 else ""
        skipped = [Skipped("", shown, skipped[0].reason + more)]
    incomplete = [np.isnan(c.coords).any((1, 2)) for c in chains]
    notes["residues with missing backbone atoms"] += sum(int(i.sum()) for i in incomplete)
    return FileContent(chains, skipped, +notes)


def _read_text(path: Path) -> bytes:
    """Returns the content of a file, unpacked, as ASCII; refuses content that is not text before a parser sees it."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnusableFile(f"cannot be opened: {error.strerror or error}") from None
    if content[:2] == b"\x1f\x8b":
        content = _unpacked(content)
    if len(content) > MAX_BYTES:
        raise UnusableFile(f"larger than {MAX_BYTES >> 20} MB")
    if not content.strip():
        raise UnusableFile("empty file")
    if b"\0" in content[:65536]:
        raise UnusableFile("binary content, neither PDB nor mmCIF text")
    content = _without_byte_order_mark(content)
    if not content.isascii():  # such as an author's name in a header; names of chains and atoms are ASCII
        content = content.decode("latin-1").encode("ascii", "replace")
    return content


def _without_byte_order_mark(content: bytes) -> bytes:
    """Removes the mark that editors write in front of Unicode text."""
    return content.removeprefix(codecs.BOM_UTF8)


def _unpacked(content: bytes) -> bytes:
    """Unpacks a gzip file of one or more members, up to `MAX_BYTES`."""
    parts, size = [], 0
    while content:
        stream = zlib.decompressobj(wbits=31)
        try:
            parts.append(stream.decompress(content, MAX_BYTES + 1 - size))
        except zlib.error as error:
            raise UnusableFile(f"damaged gzip file: {error}") from None
        size += len(parts[-1])
        if size > MAX_BYTES:
            break
        if not stream.eof:
            raise UnusableFile("truncated gzip file")
        content = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _listed_chains(content: bytes, notes: Counter[str]) -> list[ListedChain]:
    """Returns the protein chains in a text; an error of any kind becomes the reason why there are none."""
    try:
        atoms = _atoms(content)
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


def _atoms(content: bytes) -> Atoms:
    """Reads the atoms of the first model of a text; the content decides the format."""
    if is_mmcif(content):
        return read_mmcif(content)
    if is_pdb(content):
        return read_pdb(content)
    raise UnusableFile("no atom records, neither of PDB nor of mmCIF")
