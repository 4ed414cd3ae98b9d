"""Structure files, PDB or mmCIF, read and cleaned into backbones. Imports no torch, so that workers start fast.

What is kept: of the first model, every protein chain; of a residue, the conformer with the highest occupancy; modified
residues under the letter of their parent; residues in the order of the file, insertion codes included. An atom that is
missing is NaN. A residue whose atoms cannot belong together is missing as a whole.
"""

import os
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from partoken.protein.chains.backbone import ATOMS, Backbone, encode
from partoken.protein.chains.validation import MIN_LENGTH, UnusableChain, validate
from partoken.protein.sources.finding import stem_of
from partoken.system.skipped import Skipped

__all__ = ["FileContent", "read_file"]

MAX_BYTES = 1 << 30
MOST_TWICE = 2
"""Residues of a file that may hold an atom twice, which then counts once."""


@dataclass(frozen=True)
class FileContent:
    """What one file gave."""

    chains: list[Backbone]
    skipped: list[Skipped]
    """The file as a whole, or chains of it."""
    notes: Counter[str]
    """How often each kind of cleaning happened."""


class _Unusable(Exception):
    """Says why a file or a chain gives no backbone."""


def read_file(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
) -> FileContent:
    """Reads the protein chains of one file; never raises for what is wrong with the file.

    The format is told from the content, not from the extension; `.gz` too.

    Arguments:
        path: the file.
        name: how to call it in what is returned; by default the path.
        min_length: complete residues that a chain must have at least.
        max_length: residues that it may have at most; None for any number.
    """
    shown = str(path) if name is None else name
    try:
        notes: Counter[str] = Counter()
        structure = _parse(_read_text(Path(path)), notes)
        raw = _chains_of(structure, notes)
        if not raw:
            raise _Unusable("no protein chain with backbone atoms")
    except _Unusable as reason:
        return FileContent([], [Skipped("", shown, str(reason))], Counter())
    stem = stem_of(path)
    chains, skipped = [], []
    for chain, coords, letters in raw:
        identity = f"{stem}_{chain}" if chain and len(raw) > 1 else stem
        try:
            points, impossible = validate(coords, min_length=min_length, max_length=max_length)
        except UnusableChain as reason:
            skipped.append(Skipped(identity, shown, str(reason), unusable=False))
            continue
        notes["residues with impossible geometry"] += impossible
        chains.append(Backbone(identity, points, encode(letters), {"file": shown, "chain": chain}))
    if not chains:
        more = f" (the first of {len(skipped)} chains like it)" if len(skipped) > 1 else ""
        skipped = [Skipped("", shown, skipped[0].reason + more)]
    notes["residues with missing backbone atoms"] += sum(int(np.isnan(c.coords).any((1, 2)).sum()) for c in chains)
    return FileContent(chains, skipped, +notes)


def _read_text(path: Path) -> bytes:
    """Returns a file's content, unpacked; what cannot be text is refused before a parser sees it."""
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
    if not content.isascii():  # an author's name in a header; names of chains and atoms are ASCII
        content = content.decode("latin-1").encode("ascii", "replace")
    return content


def _unpacked(content: bytes) -> bytes:
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
    is_cif = b"_atom_site." in content
    if not is_cif and not content.startswith((b"ATOM", b"HETATM")) and b"\nATOM" not in content:
        if b"\nHETATM" not in content:
            raise _Unusable("no atom records, neither of PDB nor of mmCIF")
    try:
        if not is_cif:
            first_model = content.find(b"\nENDMDL")
            if first_model >= 0:  # the others may be thousands
                notes["further models"] += content.count(b"\nMODEL", first_model)
                content = content[:first_model] + b"\nENDMDL\n"
            # Not split at TER, residues of two molecules of one chain name would be merged where numbers agree.
            return gemmi.read_pdb_string(content, split_chain_on_ter=True)
        block = next((b for b in gemmi.cif.read_string(content) if b.find_values("_atom_site.Cartn_x")), None)
        if block is None:
            raise _Unusable("no atom records with coordinates in the mmCIF file")
        return gemmi.make_structure_from_block(block)
    except (RuntimeError, ValueError, IndexError, UnicodeDecodeError, OverflowError) as error:  # of gemmi's C++
        raise _Unusable(f"not readable as {'mmCIF' if is_cif else 'PDB'}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].encode("ascii", "replace").decode()[:200]


def _chains_of(structure: gemmi.Structure, notes: Counter[str]) -> list[tuple[str, np.ndarray, str]]:
    """Returns name, coordinates [L, 4, 3] and letters of every protein chain of the first model."""
    if len(structure) == 0:
        return []
    notes["further models"] += len(structure) - 1
    structure.setup_entities()
    atoms = gemmi.FlatStructure(structure)
    names = _strings(atoms.atom_names)
    slot = np.full(len(names), -1)
    for number, atom in enumerate(ATOMS):
        slot[names == atom.encode()] = number
    polymer = atoms.entity_type == gemmi.EntityType.Polymer.value
    first = atoms.model_num == (atoms.model_num[0] if len(names) else 0)
    polymer_chains = {c.decode() for c in np.unique(_strings(atoms.chain_ids)[polymer & first])}
    run = np.repeat(np.arange(len(structure[0])), [c.count_atom_sites() for c in structure[0]])  # from TER to TER
    run = np.concatenate([run, np.full(len(names) - len(run), -1)])
    written = np.isin(run, np.unique(run[atoms.het_flags != ord("H")]))  # a run of hetero atoms alone is no chain
    keep = np.flatnonzero(polymer & first & written & (slot >= 0))
    if not len(keep):
        notes["chains that are no protein"] += len(polymer_chains)
        return []
    chain, residue = _strings(atoms.chain_ids)[keep], _strings(atoms.residue_names)[keep]
    number, icode = atoms.resnums[keep], atoms.icodes[keep]
    new = np.ones(len(keep), dtype=bool)
    new[1:] = (np.diff(run[keep]) != 0) | (number[1:] != number[:-1]) | (icode[1:] != icode[:-1])
    site = np.cumsum(new) - 1
    twice = _twice(site * len(ATOMS) + slot[keep], residue, atoms.altlocs[keep])
    if len(np.unique(site[twice])) > MOST_TWICE:
        raise _Unusable("residues that stand twice: two molecules under one chain name, or a damaged file")
    chosen = _choose(site, slot[keep], residue, atoms.altlocs[keep], atoms.occ[keep], notes)
    coords = np.full((site[-1] + 1, 4, 3), np.nan)
    coords[site[chosen], slot[keep][chosen]] = atoms.pos[keep][chosen]

    starts = np.flatnonzero(new)
    name_of_site = np.empty(len(starts), dtype=residue.dtype)
    name_of_site[site[chosen]] = residue[chosen]
    letters, is_protein = _letters(name_of_site, notes)
    is_protein &= ~np.isnan(coords[:, 1]).any(1) | ~np.isnan(coords[:, 0]).any(1)
    part = _parts(chain[starts], number[starts], icode[starts])
    found = []
    for cut in np.unique(part):
        members = (part == cut) & is_protein
        if members.any():
            found.append((chain[starts][members][0].decode("latin-1"), coords[members], letters[members].tobytes()))
    notes["chains that are no protein"] += len(polymer_chains - {name for name, _, _ in found})
    return [(name, points, text.decode()) for name, points, text in _distinct(found)]


def _strings(codes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(codes).view("S8").ravel()


def _choose(
    site: np.ndarray,
    slot: np.ndarray,
    residue: np.ndarray,
    altloc: np.ndarray,
    occupancy: np.ndarray,
    notes: Counter[str],
) -> np.ndarray:
    """Returns the positions of the atoms to keep: one for each site and slot, of one conformer where there are more."""
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


def _twice(key: np.ndarray, residue: np.ndarray, altloc: np.ndarray) -> np.ndarray:
    """Returns which atoms repeat an earlier one, bool; one of another conformer or residue name does not."""
    rows = np.stack([key, np.unique(residue, return_inverse=True)[1], altloc], 1)
    repeated = np.ones(len(rows), dtype=bool)
    repeated[np.unique(rows, axis=0, return_index=True)[1]] = False
    return repeated


def _best(site: np.ndarray, code: np.ndarray, occupancy: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Returns for each site the code of the highest summed occupancy, the first of equals; -1 where none is allowed."""
    best = np.full(site[-1] + 1, -1, dtype=np.int64)
    if not allowed.any():
        return best
    pairs, first, group = np.unique(
        np.stack([site[allowed], code[allowed]], 1), axis=0, return_index=True, return_inverse=True
    )
    weight = np.bincount(group.ravel(), occupancy[allowed]).round(4)
    ranked = np.lexsort((first, -weight, pairs[:, 0]))
    sites, where = np.unique(pairs[ranked, 0], return_index=True)
    best[sites] = pairs[ranked, 1][where]
    return best


def _letters(names: np.ndarray, notes: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the one-letter code of each residue, a modified one's parent's, and whether it is an amino acid."""
    letters, is_protein = np.full(len(names), b"X", dtype="S1"), np.ones(len(names), dtype=bool)
    for name in np.unique(names):
        known, here = gemmi.find_tabulated_residue(name.decode("latin-1")), names == name
        # A residue of a polymer that the table does not know is taken for a modified one: it has backbone atoms.
        is_protein[here] = known.is_amino_acid() or not known.found()
        if known.is_amino_acid():
            letters[here] = known.one_letter_code.upper().encode()
        if is_protein[here].any() and not known.is_standard():
            notes["modified or unknown residues"] += int(here.sum())
    return letters, is_protein


def _parts(chain: np.ndarray, number: np.ndarray, icode: np.ndarray) -> np.ndarray:
    """Returns the chain of each residue, int [L]: another name, or a numbering that starts again within a name."""
    identity = np.unique(
        np.stack([np.unique(chain, return_inverse=True)[1], number, icode], 1), axis=0, return_index=True
    )
    again = np.ones(len(chain), dtype=bool)
    again[identity[1]] = False
    names = {name: i for i, name in enumerate(dict.fromkeys(chain.tolist()))}
    code = np.array([names[name] for name in chain.tolist()])
    # One residue cannot stand twice in a chain: files of simulations often name no chains.
    restart = np.zeros(len(chain), dtype=np.int64)
    restart[1:] = again[1:] & (chain[1:] == chain[:-1]) & (number[1:] < number[:-1])
    return code * (restart.sum() + 1) + np.cumsum(restart)


def _distinct(found: list[tuple[str, np.ndarray, bytes]]) -> Iterator[tuple[str, np.ndarray, bytes]]:
    """Numbers chains of one name: A, A.2, A.3; or 1, 2, 3 where they have none."""
    seen: Counter[str] = Counter()
    for name, points, text in found:
        seen[name] += 1
        number = "" if seen[name] == 1 and (name or len(found) == 1) else str(seen[name])
        yield ".".join(part for part in (name, number) if part), points, text
