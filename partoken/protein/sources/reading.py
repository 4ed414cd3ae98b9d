"""Reads PDB and mmCIF files into clean backbones. Imports no torch, so that worker processes start fast.

A file gives every protein chain of its first model. Residues keep the order of the file, insertion codes included. Each
residue keeps the conformer with the highest occupancy; a modified residue gets the letter of its parent. A missing atom
is NaN. If the atoms of a residue are impossibly far apart or close, all atoms of the residue are NaN.
"""

import os
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from partoken.protein.chains.backbone import ATOMS, Backbone, encode
from partoken.protein.chains.validation import MIN_LENGTH, UnusableChain, validate
from partoken.protein.sources.confidence import NoConfidence, mean_confidence, read_confidences
from partoken.protein.sources.finding import stem_of
from partoken.system.skipped import Skipped

__all__ = ["FileContent", "read_file"]

MAX_BYTES = 1 << 30
"""Largest size of a file, unpacked."""
MAX_REPEATED = 2
"""Residues of a file that may contain an atom twice; its first copy counts."""


@dataclass(frozen=True)
class FileContent:
    """The result of reading one file."""

    chains: list[Backbone]
    skipped: list[Skipped]
    """The whole file, or single chains."""
    notes: Counter[str]
    """Number of residues, chains or models that each kind of cleaning changed."""


class _Unusable(Exception):
    """A file gives no backbone; the message says why."""


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
        raw = _chains_of(_parse(content, notes), notes)
        if not raw:
            raise _Unusable("no protein chain with backbone atoms")
        confidences = None
        if min_plddt is not None:
            confidences = read_confidences(content, [b_factors for *_, b_factors in raw], notes)
    except (_Unusable, NoConfidence) as reason:
        return FileContent([], [Skipped("", shown, str(reason))], Counter())
    stem = stem_of(path)
    chains, skipped = [], []
    for number, (chain, coords, letters, _) in enumerate(raw):
        chain_id = f"{stem}_{chain}" if chain and len(raw) > 1 else stem
        fields, low = {"file": shown, "chain": chain}, ""
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
        chains.append(Backbone(chain_id, points, encode(letters), fields))
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
        raise _Unusable(f"cannot be opened: {error.strerror or error}") from None
    if content[:2] == b"\x1f\x8b":
        content = _unpacked(content)
    if len(content) > MAX_BYTES:
        raise _Unusable(f"larger than {MAX_BYTES >> 20} MB")
    if not content.strip():
        raise _Unusable("empty file")
    if b"\0" in content[:65536]:
        raise _Unusable("binary content, neither PDB nor mmCIF text")
    if not content.isascii():  # such as an author's name in a header; names of chains and atoms are ASCII
        content = content.decode("latin-1").encode("ascii", "replace")
    return content


def _unpacked(content: bytes) -> bytes:
    """Unpacks a gzip file of one or more members, up to `MAX_BYTES`."""
    parts, size = [], 0
    while content:
        stream = zlib.decompressobj(wbits=31)
        try:
            parts.append(stream.decompress(content, MAX_BYTES + 1 - size))
        except zlib.error as error:
            raise _Unusable(f"damaged gzip file: {error}") from None
        size += len(parts[-1])
        if size > MAX_BYTES:
            break
        if not stream.eof:
            raise _Unusable("truncated gzip file")
        content = stream.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _parse(content: bytes, notes: Counter[str]) -> gemmi.Structure:
    """Parses the text of a file; of a PDB file only the first model, because there may be thousands."""
    is_cif = b"_atom_site." in content
    if not is_cif and not content.startswith((b"ATOM", b"HETATM")) and b"\nATOM" not in content:
        if b"\nHETATM" not in content:
            raise _Unusable("no atom records, neither of PDB nor of mmCIF")
    try:
        if not is_cif:
            first_model = content.find(b"\nENDMDL")
            if first_model >= 0:
                notes["further models"] += content.count(b"\nMODEL", first_model)
                content = content[:first_model] + b"\nENDMDL\n"
            # Without the split, gemmi would merge equal residue numbers of two molecules with one chain name.
            return gemmi.read_pdb_string(content, split_chain_on_ter=True)
        block = next((b for b in gemmi.cif.read_string(content) if b.find_values("_atom_site.Cartn_x")), None)
        if block is None:
            raise _Unusable("no atom records with coordinates in the mmCIF file")
        return gemmi.make_structure_from_block(block)
    except (RuntimeError, ValueError, IndexError, UnicodeDecodeError, OverflowError) as error:  # from gemmi's C++
        raise _Unusable(f"not readable as {'mmCIF' if is_cif else 'PDB'}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].encode("ascii", "replace").decode()[:200]


@dataclass(frozen=True)
class _Residues:
    """The residues of the polymers in a file, L of them."""

    coords: np.ndarray
    """float64 [L, 4, 3]: N, CA, C, O in angstrom; NaN for a missing atom."""
    b_factors: np.ndarray
    """float64 [L, 4]: of N, CA, C, O in angstrom squared, or a confidence; NaN for a missing atom."""
    name: np.ndarray
    """Three-letter names, bytes [L]."""
    chain: np.ndarray
    """Names of the chains, bytes [L]."""
    number: np.ndarray
    """int [L]."""
    icode: np.ndarray
    """Insertion codes, int [L]."""


def _chains_of(structure: gemmi.Structure, notes: Counter[str]) -> list[tuple[str, np.ndarray, str, np.ndarray]]:
    """Returns the chains of the first model: name, coordinates float64 [L, 4, 3], L letters, B factors [L, 4]."""
    if len(structure) == 0:
        return []
    notes["further models"] += len(structure) - 1
    structure.setup_entities()
    atoms = gemmi.FlatStructure(structure)
    slot, run = _slots(atoms), _runs(structure, atoms)
    is_polymer = atoms.entity_type == gemmi.EntityType.Polymer.value
    is_polymer &= atoms.model_num == (atoms.model_num[0] if len(slot) else 0)
    polymer_names = {name.decode() for name in np.unique(_strings(atoms.chain_ids)[is_polymer])}
    # A run of hetero atoms alone is no chain.
    has_polymer_record = np.isin(run, np.unique(run[atoms.het_flags != ord("H")]))
    keep = np.flatnonzero(is_polymer & has_polymer_record & (slot >= 0))
    proteins = _proteins(_residues_of(atoms, keep, slot, run, notes), notes) if len(keep) else []
    protein_names = {name for name, *_ in proteins}
    notes["chains that are no protein"] += len(polymer_names - protein_names)
    return list(_distinct(proteins))


def _residues_of(
    atoms: gemmi.FlatStructure, keep: np.ndarray, slot: np.ndarray, run: np.ndarray, notes: Counter[str]
) -> _Residues:
    """Collects the backbone atoms of residues, one conformer of each.

    Arguments:
        atoms: n atoms of a file.
        keep: positions of the atoms to use, int.
        slot: place of each atom among `ATOMS`, int [n].
        run: stretch of the file that each atom belongs to, int [n].
        notes: gets the number of residues with several conformers.
    """
    slot, run = slot[keep], run[keep]
    chain, name = _strings(atoms.chain_ids)[keep], _strings(atoms.residue_names)[keep]
    number, icode, altloc = atoms.resnums[keep], atoms.icodes[keep], atoms.altlocs[keep]
    is_new = np.ones(len(keep), dtype=bool)
    is_new[1:] = (np.diff(run) != 0) | (number[1:] != number[:-1]) | (icode[1:] != icode[:-1])
    site = np.cumsum(is_new) - 1
    repeated = _repeated(site * len(ATOMS) + slot, name, altloc)
    if len(np.unique(site[repeated])) > MAX_REPEATED:
        raise _Unusable("residues that occur twice: two molecules under one chain name, or a damaged file")
    chosen = _choose(site, slot, name, altloc, atoms.occ[keep], notes)
    starts = np.flatnonzero(is_new)
    coords = np.full((len(starts), 4, 3), np.nan)
    coords[site[chosen], slot[chosen]] = atoms.pos[keep][chosen]
    b_factors = np.full((len(starts), 4), np.nan)
    b_factors[site[chosen], slot[chosen]] = atoms.b_iso[keep][chosen]
    name_of_site = np.empty(len(starts), dtype=name.dtype)
    name_of_site[site[chosen]] = name[chosen]
    return _Residues(coords, b_factors, name_of_site, chain[starts], number[starts], icode[starts])


def _proteins(residues: _Residues, notes: Counter[str]) -> list[tuple[str, np.ndarray, str, np.ndarray]]:
    """Divides residues into protein chains: name, coordinates float64 [L, 4, 3], L letters, B factors [L, 4]."""
    letters, is_protein = _letters(residues.name, notes)
    has_n, has_ca = (~np.isnan(residues.coords[:, slot]).any(1) for slot in (0, 1))
    is_protein &= has_n | has_ca
    part = _parts(residues.chain, residues.number, residues.icode)
    proteins = []
    for value in np.unique(part):
        members = (part == value) & is_protein
        if members.any():
            name = residues.chain[members][0].decode("latin-1")
            sequence = letters[members].tobytes().decode()
            proteins.append((name, residues.coords[members], sequence, residues.b_factors[members]))
    return proteins


def _slots(atoms: gemmi.FlatStructure) -> np.ndarray:
    """Returns the place of each atom among `ATOMS`, int [n]; -1 for other atoms."""
    names = _strings(atoms.atom_names)
    slot = np.full(len(names), -1)
    for number, atom in enumerate(ATOMS):
        slot[names == atom.encode()] = number
    return slot


def _runs(structure: gemmi.Structure, atoms: gemmi.FlatStructure) -> np.ndarray:
    """Returns for each atom which stretch from TER to TER it belongs to, int [n]; -1 beyond the first model."""
    sizes = [chain.count_atom_sites() for chain in structure[0]]
    run = np.repeat(np.arange(len(structure[0])), sizes)
    return np.concatenate([run, np.full(len(atoms.altlocs) - len(run), -1)])


def _strings(codes: Any) -> np.ndarray:
    """Returns names of up to 8 characters, bytes [n], from the character codes that gemmi gives."""
    return np.ascontiguousarray(codes).view("S8").ravel()


def _choose(
    site: np.ndarray,
    slot: np.ndarray,
    residue: np.ndarray,
    altloc: np.ndarray,
    occupancy: np.ndarray,
    notes: Counter[str],
) -> np.ndarray:
    """Chooses one atom for each residue and slot, all from one conformer of the residue.

    Arguments:
        site: residue of each of n atoms, int [n].
        slot: place of each atom among `ATOMS`, int [n].
        residue: residue name of each atom, bytes [n].
        altloc: conformer of each atom, int [n]; 0 for none.
        occupancy: float [n].
        notes: gets the number of residues with several conformers.

    Returns:
        Positions of the chosen atoms, int.
    """
    occupancy = np.nan_to_num(occupancy, nan=0.0)
    order = np.arange(len(site))
    _, residue_code = np.unique(residue, return_inverse=True)
    named = _best(site, residue_code, occupancy, np.ones(len(site), dtype=bool))
    in_residue = residue_code == named[site]
    conformer = _best(site, altloc.astype(np.int64), occupancy, in_residue & (altloc != 0))
    in_conformer = (altloc == 0) | (altloc == conformer[site])
    key = site * len(ATOMS) + slot
    ranked = np.lexsort((order, -occupancy, ~in_conformer, key))
    ranked = ranked[in_residue[ranked]]
    chosen = ranked[np.unique(key[ranked], return_index=True)[1]]
    notes["residues with alternate conformations"] += len(np.unique(site[~in_residue | (altloc != 0)]))
    return chosen


def _repeated(atom_key: np.ndarray, residue: np.ndarray, altloc: np.ndarray) -> np.ndarray:
    """Returns which atoms repeat an earlier atom of the same conformer and residue name, bool [n]."""
    rows = np.stack([atom_key, np.unique(residue, return_inverse=True)[1], altloc], 1)
    repeated = np.ones(len(rows), dtype=bool)
    repeated[np.unique(rows, axis=0, return_index=True)[1]] = False
    return repeated


def _best(site: np.ndarray, code: np.ndarray, occupancy: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Returns the code with the highest summed occupancy of each residue, int [residues].

    The first of equally occupied codes wins; a residue without an allowed atom gets -1.
    """
    best = np.full(site[-1] + 1, -1, dtype=np.int64)
    if not allowed.any():
        return best
    pairs, first, group = np.unique(
        np.stack([site[allowed], code[allowed]], 1), axis=0, return_index=True, return_inverse=True
    )
    weight = np.bincount(group.ravel(), occupancy[allowed]).round(4)
    ranked = np.lexsort((first, -weight, pairs[:, 0]))
    sites, first_rank = np.unique(pairs[ranked, 0], return_index=True)
    best[sites] = pairs[ranked, 1][first_rank]
    return best


def _letters(names: np.ndarray, notes: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the one-letter code of each residue, bytes [L], and which residues are amino acids, bool [L].

    A modified residue has the code of its parent.
    """
    letters, is_protein = np.full(len(names), b"X", dtype="S1"), np.ones(len(names), dtype=bool)
    for name in np.unique(names):
        entry = gemmi.find_tabulated_residue(name.decode("latin-1"))
        members = names == name
        # A residue that gemmi does not know counts as a modified amino acid: it has backbone atoms.
        is_protein[members] = entry.is_amino_acid() or not entry.found()
        if entry.is_amino_acid():
            letters[members] = entry.one_letter_code.upper().encode()
        if is_protein[members].any() and not entry.is_standard():
            notes["modified or unknown residues"] += int(members.sum())
    return letters, is_protein


def _parts(chain: np.ndarray, number: np.ndarray, icode: np.ndarray) -> np.ndarray:
    """Numbers the chains of a file by residue, int [L].

    A new chain starts at another chain name. It also starts within a name if the residue numbers start again: files of
    simulations often have no chain names, and one chain cannot contain the same residue number twice.

    Arguments:
        chain: chain name of each residue, bytes [L].
        number: residue number, int [L].
        icode: insertion code, int [L].
    """
    chain_code = np.unique(chain, return_inverse=True)[1]
    keys = np.stack([chain_code, number, icode], 1)
    first = np.unique(keys, axis=0, return_index=True)[1]
    is_repeated = np.ones(len(chain), dtype=bool)
    is_repeated[first] = False
    order_of_name = {name: i for i, name in enumerate(dict.fromkeys(chain.tolist()))}
    order = np.array([order_of_name[name] for name in chain.tolist()])
    restart = np.zeros(len(chain), dtype=np.int64)
    goes_back = (chain[1:] == chain[:-1]) & (number[1:] < number[:-1])
    restart[1:] = is_repeated[1:] & goes_back
    return order * (restart.sum() + 1) + np.cumsum(restart)


def _distinct(
    chains: list[tuple[str, np.ndarray, str, np.ndarray]],
) -> Iterator[tuple[str, np.ndarray, str, np.ndarray]]:
    """Numbers the chains that share a name: A, A.2, A.3; chains without a name become 1, 2, 3."""
    seen: Counter[str] = Counter()
    for name, points, letters, b_factors in chains:
        seen[name] += 1
        needs_no_number = seen[name] == 1 and (name or len(chains) == 1)
        number = "" if needs_no_number else str(seen[name])
        yield ".".join(part for part in (name, number) if part), points, letters, b_factors
