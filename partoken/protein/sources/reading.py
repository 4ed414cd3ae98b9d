"""Reads PDB and mmCIF files into clean backbones. Imports no torch, so that worker processes start fast.

A file gives every protein chain of its first model. Residues keep the order of the file, insertion codes included. Each
residue keeps the conformer with the highest occupancy; a modified residue gets the letter of its parent. A missing atom
is NaN. If the atoms of a residue are impossibly far apart or close, all atoms of the residue are NaN.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from partoken.protein.chains.backbone import Backbone, encode
from partoken.protein.chains.validation import MIN_LENGTH, UnusableChain, find_flaws, validate
from partoken.protein.sources.atoms import Atoms, Notes, UnusableFile, join
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

__all__ = ["FEW_FILES", "FileContent", "read_file", "read_files"]

FEW_FILES = 1000
"""Below this number of files, starting processes takes longer than it saves."""

TOGETHER = 1 << 21
"""Bytes of small files that are parsed together. The more, the less each costs, until they no longer fit into the cache
of a processor core."""


@dataclass(frozen=True)
class FileContent:
    """The result of reading one file."""

    chains: list[Backbone]
    skipped: list[Skipped]
    """The whole file, or single chains."""
    notes: Counter[str]
    """Number of residues, chains or models that each kind of cleaning changed."""


def read_file(path: str | os.PathLike[str], name: str | None = None, **options: Any) -> FileContent:
    """Reads the protein chains of one file. A bad file is reported in the result; it never raises an error.

    Arguments:
        path: the file, or a member of an archive, see `list_structures`.
        name: name of the file in the result; None takes `path`.
        options: those of `read_files`.
    """
    [content] = read_files([(path, name)], **options)
    return content


def read_files(
    files: Iterable[tuple[str | os.PathLike[str], str | None]],
    *,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    max_file_mb: float = MAX_FILE_MB,
    min_plddt: float | None = None,
    keep_names: bool = False,
) -> Iterator[FileContent]:
    """Yields the protein chains of each of some files. A bad file is reported in its result; it never raises an error.

    The content decides the format, also of packed files; the extension does not matter. Small files are parsed
    together, which changes no result.

    Arguments:
        files: the path and the name of each, as for `read_file`.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        max_file_mb: largest size of a file, unpacked, in units of 2^20 bytes.
        min_plddt: lowest confidence, 0 to 100; residues below it count as missing. None: the confidence is not read.
        keep_names: True: the chains have the names and numbers of their residues.

    Returns:
        Chains with the fields `file` and `chain`, skipped inputs and counts. A chain has the name of its file, followed
        by its own name if the file has several chains: `1abc_A`. With `min_plddt` the field `confidence` is the mean
        over the residues of the chain, from 0 to 100; it is missing for an experimental structure.
    """
    limits = _Limits(min_length, max_length, min_plddt, keep_names)
    # Unlike a loop, `map` keeps no group while the next files are opened.
    return chain.from_iterable(map(partial(_contents, limits=limits), _groups(files, max_file_mb)))


@dataclass(frozen=True)
class _File:
    """A file that has been opened."""

    path: str | os.PathLike[str]
    name: str
    """As messages show it."""
    content: bytes
    """Unpacked."""
    reason: str
    """Why it has no content; "" if it has."""


@dataclass(frozen=True)
class _Limits:
    """Options of `read_files`."""

    min_length: int
    max_length: int | None
    min_plddt: float | None
    keep_names: bool


_Listed = tuple[list[ListedChain], Counter[str]]
"""The protein chains in a file, and its notes."""


def _groups(files: Iterable[tuple[str | os.PathLike[str], str | None]], max_file_mb: float) -> Iterator[list[_File]]:
    """Yields files in groups that end when they have `TOGETHER` bytes; so only one large file is open at a time."""
    group: list[_File] = []
    for path, name in files:
        content, reason = b"", ""
        try:
            content = read_content(path, max_file_mb)
        except UnusableFile as error:
            reason = str(error)
        group.append(_File(path, printable(str(path) if name is None else name), content, reason))
        if sum(len(file.content) for file in group) >= TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _contents(group: Sequence[_File], limits: _Limits) -> list[FileContent]:
    """Returns what is read of each file of a group."""
    contents = [file.content for file in group if not file.reason]
    listed = iter(_listed_chains(contents, b_factors=limits.min_plddt is not None))
    return [_result(file, UnusableFile(file.reason) if file.reason else next(listed), limits) for file in group]


def _listed_chains(contents: Sequence[bytes], *, b_factors: bool) -> list[_Listed | UnusableFile]:
    """Returns the protein chains in each file, or the reason why there are none."""
    try:
        return _parsed_together(contents, b_factors)
    except Exception as error:  # one file must not end the reading of the others
        if len(contents) > 1:
            return [found for content in contents for found in _listed_chains([content], b_factors=b_factors)]
        if isinstance(error, UnusableFile):
            return [error]
        reason = str(error).strip().partition("\n")[0][:200]
        return [UnusableFile(f"cannot be read: {type(error).__name__}: {reason}")]


def _parsed_together(contents: Sequence[bytes], b_factors: bool) -> list[_Listed | UnusableFile]:
    """As `_listed_chains`, but raises an error in any file."""
    pdb = [number for number, content in enumerate(contents) if _is_pdb(content)]
    others = sorted(set(range(len(contents))) - set(pdb))
    parts = [read_pdb([contents[number] for number in pdb], b_factors=b_factors)] if pdb else []
    parts += [_atoms(contents[number], b_factors) for number in others]
    if not parts:
        return []
    atoms = join(parts)
    notes = Notes(len(contents))
    chains = chains_of(atoms, notes)
    found: dict[int, _Listed | UnusableFile] = {}
    for number, own, of_file, models in zip([*pdb, *others], chains, notes.of_file, atoms.further_models, strict=True):
        of_file["further models"] += models
        found[number] = (own, of_file) if own else UnusableFile("no protein chain with backbone atoms")
    return [found[number] for number in range(len(contents))]


def _is_pdb(content: bytes) -> bool:
    return not is_binary_cif(content) and not is_mmcif(content) and is_pdb(content)


def _atoms(content: bytes, b_factors: bool) -> Atoms:
    """Reads the atoms of the first model of a file that is not in the PDB format."""
    if is_binary_cif(content):
        return read_binary_cif(content, b_factors=b_factors)
    if is_mmcif(content):
        return read_mmcif(content, b_factors=b_factors)
    raise UnusableFile("no atom records, neither of PDB nor of mmCIF")


def _result(file: _File, found: _Listed | UnusableFile, limits: _Limits) -> FileContent:
    """Returns what is read of a file."""
    try:
        if isinstance(found, UnusableFile):
            raise found
        return _checked(file, *found, limits)
    except (UnusableFile, NoConfidence) as reason:
        return FileContent([], [Skipped("", file.name, str(reason))], Counter())


def _checked(file: _File, listed: list[ListedChain], notes: Counter[str], limits: _Limits) -> FileContent:
    """Returns the chains of a file that can be used.

    Raises:
        NoConfidence: the B factors of the file are no confidence.
    """
    min_plddt = limits.min_plddt
    confidences = None
    if min_plddt is not None:
        header = experiment_text(file.content) if is_binary_cif(file.content) else file.content
        confidences = read_confidences(header, [one.b_factors for one in listed], notes)
    stem = printable(stem_of(file.path))
    chains, skipped = [], []
    for number, one in enumerate(listed):
        chain_id = f"{stem}_{one.name}" if one.name and len(listed) > 1 else stem
        coords, flaws, fields, low = one.coords, one.flaws, {"file": file.name, "chain": one.name}, ""
        if min_plddt is not None and confidences is not None:
            is_low = confidences[number] < min_plddt
            coords = np.where(is_low[:, None, None], np.nan, coords)
            flaws = find_flaws(coords)
            fields["confidence"] = mean_confidence(confidences[number])
            notes[f"residues below min_plddt={min_plddt:g}"] += int(is_low.sum())
            low = f"; {is_low.sum()} residues are below min_plddt={min_plddt:g}"
        try:
            points, impossible = validate(
                coords, min_length=limits.min_length, max_length=limits.max_length, flaws=flaws
            )
        except UnusableChain as reason:
            skipped.append(Skipped(chain_id, file.name, str(reason) + low, unusable=False))
            continue
        notes["residues with impossible geometry"] += impossible
        incomplete = np.isnan(points[:, :, 0])
        if incomplete.any():
            notes["residues with missing backbone atoms"] += int(incomplete.any(1).sum())
        names = residue_names(file.path, one) if limits.keep_names else None
        chains.append(Backbone(chain_id, points, encode(one.letters), fields, names))
    if not chains:
        more = f" (the first of {len(skipped)} unusable chains)" if len(skipped) > 1 else ""
        skipped = [Skipped("", file.name, skipped[0].reason + more)]
    return FileContent(chains, skipped, +notes)
