"""Divides the residues of files into protein chains.

Every residue is judged by itself: it belongs to a chain if it has the backbone atoms of an amino acid. A hetero residue
must also be bonded to a neighbour or lie between residues of the chain, or else it is a free ligand.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from partoken.protein.chains.validation import Flaws, find_flaws
from partoken.protein.sources.amino_acids import amino_acid
from partoken.protein.sources.atoms import Atoms, Notes, UnusableFile, run_starts
from partoken.protein.sources.residues import MAX_REPEATED, TWICE, Residues, ascend, earlier, residues_of

__all__ = ["ListedChain", "chains_of"]

MAX_BOND = 2.2
"""Angstrom between C and N of bonded residues; it is 1.33, and free molecules stay farther than 2.5 apart."""
MAX_CA_DISTANCE = 4.5
"""Angstrom between the CA atoms of bonded residues, for residues without C or N; it is 3.8."""
SAME_PLACE = 1.0
"""Angstrom between the CA atoms of two copies of one residue, at most."""


@dataclass(frozen=True)
class ListedChain:
    """A protein chain with L residues as its file lists it."""

    name: str
    coords: np.ndarray
    """float64 [L, 4, 3]: N, CA, C, O in angstrom; NaN for a missing atom."""
    letters: str
    b_factors: np.ndarray
    """float64 [L, 4]: the B column of N, CA, C, O; NaN where there is no number."""
    residue_names: np.ndarray
    """str [L]: names such as ALA."""
    numbers: np.ndarray
    """int [L]: numbers of the residues, see `Atoms`."""
    icodes: np.ndarray
    """int [L]: insertion codes, see `Atoms`."""
    flaws: Flaws


def chains_of(atoms: Atoms, notes: Notes) -> list[list[ListedChain]]:
    """Returns the protein chains of each file.

    Arguments:
        atoms: the backbone atoms of the first model of each file.
        notes: gets the number of residues, atoms and chains that each kind of cleaning changed.

    Raises:
        UnusableFile: several residues of a file occur twice at one place.
    """
    residues = residues_of(atoms, notes)
    known = [amino_acid(name) for name in atoms.residue_names]
    letters = np.array([one.letter if one else "X" for one in known], dtype="S1")
    is_known = np.array([one is not None for one in known], dtype=bool)
    is_odd = np.array([one is None or one.is_modified for one in known], dtype=bool)

    has_backbone = _has_backbone(residues, is_known)
    if not has_backbone.all():
        residues = residues.only(has_backbone)
    residues = _without_copies(_by_chain(residues), atoms.chain_files, notes)
    bonded = _bonded(residues)
    part = _parts(residues, bonded)
    in_chain = _in_chain(residues, part, bonded, is_known[residues.name])
    if not in_chain.all():
        free = ~in_chain & residues.is_listed[:, :3].all(1)
        notes.count("amino acids outside of chains", atoms.chain_files[residues.chain[free]])
        residues, part = residues.only(in_chain), part[in_chain]
    notes.count("modified or unknown residues", atoms.chain_files[residues.chain[is_odd[residues.name]]])
    unreadable = (residues.is_listed & np.isnan(residues.coords[:, :, 0])).nonzero()[0]
    notes.count("backbone atoms without readable coordinates", atoms.chain_files[residues.chain[unreadable]])
    residue_names = np.array(atoms.residue_names, dtype=object)
    starts = run_starts(part)
    flaws = find_flaws(residues.coords, starts)
    found: list[list[ListedChain]] = [[] for _ in range(atoms.num_files)]
    for start, end in pairwise([*starts.tolist(), len(part)]):
        chain = residues.chain[start]
        found[atoms.chain_files[chain]].append(
            ListedChain(
                atoms.chain_names[chain],
                residues.coords[start:end],
                letters[residues.name[start:end]].tobytes().decode(),
                residues.b_factors[start:end],
                residue_names[residues.name[start:end]],
                residues.number[start:end],
                residues.icode[start:end],
                flaws[start:end],
            )
        )
    for of_file, names, chains in zip(notes.of_file, atoms.polymer_names, found, strict=True):
        of_file["chains that are no protein"] += len(names - {one.name for one in chains})
    return [list(_distinct(chains)) for chains in found]


def _has_backbone(residues: Residues, is_known: np.ndarray) -> np.ndarray:
    """Returns which residues are listed like amino acids, bool [L].

    An amino acid may lack atoms. A residue of another name is one if it has N, CA and C.
    """
    n, ca, c = residues.is_listed[:, :3].T
    return np.where(is_known[residues.name], n | ca, n & ca & c)


def _by_chain(residues: Residues) -> Residues:
    """Puts the residues of a chain one after another, and chains in the order of their first residues."""
    chains = residues.chain[run_starts(residues.chain)].tolist()
    if len(set(chains)) == len(chains):
        return residues
    _, first, inverse = np.unique(residues.chain, return_index=True, return_inverse=True)
    return residues.only(np.argsort(first[inverse], kind="stable"))


def _without_copies(residues: Residues, chain_files: np.ndarray, notes: Notes) -> Residues:
    """Leaves out residues that occur again at the same place; `chain_files` is the file of each chain, int [chains]."""
    if ascend(residues.number, residues.chain):
        return residues
    again, before = earlier(residues.number, residues.icode, residues.chain, residues.segment, residues.run)
    if not len(again):
        return residues
    distance = _distances(residues.coords[again, 1], residues.coords[before, 1])
    copies = again[distance < SAME_PLACE]
    files = chain_files[residues.chain[copies]]
    if len(files) and np.bincount(files).max() > MAX_REPEATED:
        raise UnusableFile(TWICE)
    notes.count("residues that occur twice", files)
    return residues.only(np.delete(np.arange(len(residues)), copies)) if len(copies) else residues


def _bonded(residues: Residues) -> np.ndarray:
    """Returns which residues have a bond to the residue before them in the same chain, bool [L]."""
    _, ca, c = (residues.coords[:-1, slot] for slot in range(3))
    next_n, next_ca = (residues.coords[1:, slot] for slot in range(2))
    bond = _distances(next_n, c)
    is_near, is_known = bond < MAX_BOND, np.isfinite(bond)
    if not is_known.all():
        is_near = np.where(is_known, is_near, _distances(next_ca, ca) < MAX_CA_DISTANCE)
    bonded = np.zeros(len(residues), dtype=bool)
    bonded[1:] = is_near & (residues.chain[1:] == residues.chain[:-1])
    return bonded


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the distances between n pairs of points, float [n]; the points are [n, 3]."""
    x, y, z = (first - second).T
    return np.sqrt(x * x + y * y + z * z)


def _parts(residues: Residues, bonded: np.ndarray) -> np.ndarray:
    """Numbers the molecules of a file by residue, int [L].

    A molecule ends with its chain name. Within a name, it ends where the segment changes, at TER before a gap in the
    residue numbers, and before the numbers start again; but not where a bond shows that the chain goes on.

    Arguments:
        residues: L residues.
        bonded: which residues have a bond to the residue before them, bool [L].
    """
    new_chain, new_segment, new_run, new_icode = (
        code[1:] != code[:-1] for code in (residues.chain, residues.segment, residues.run, residues.icode)
    )
    step = residues.number[1:] - residues.number[:-1]
    goes_on = (step == 1) | ((step == 0) & new_icode)
    starts = np.ones(len(residues), dtype=bool)
    starts[1:] = new_chain | (new_segment & ~(bonded[1:] & goes_on)) | (new_run & ~(bonded[1:] | goes_on))
    for place in _restarts(residues, np.cumsum(starts), bonded):
        starts[place] = True
    return np.cumsum(starts) - 1


def _restarts(residues: Residues, part: np.ndarray, bonded: np.ndarray) -> Iterator[int]:
    """Yields the residues at which the numbers start again: no molecule contains a number twice.

    Arguments:
        residues: L residues.
        part: molecule of each residue as far as it is known, int [L].
        bonded: which residues have a bond to the residue before them, bool [L].
    """
    if ascend(residues.number, part):
        return
    again, before = earlier(residues.number, residues.icode, part)
    if not len(again):
        return
    goes_back = np.zeros(len(residues), dtype=np.int64)
    goes_back[1:] = np.where(np.diff(residues.number) <= 0, np.arange(1, len(residues)), 0)
    last_back = np.maximum.accumulate(goes_back)
    start = 0
    for place, previous in zip(again.tolist(), before.tolist(), strict=True):
        if previous >= start:
            start = int(last_back[place])
            if not bonded[start]:  # if it is bonded, a long chain has used up the numbers that a file can write
                yield start


def _in_chain(residues: Residues, part: np.ndarray, bonded: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    """Returns which residues belong to their chain, bool [L]; the others are free molecules.

    Arguments:
        residues: L residues.
        part: molecule of each residue, int [L], ascending.
        bonded: which residues have a bond to the residue before them, bool [L].
        is_known: which residues have the name of an amino acid, bool [L].
    """
    is_sure = is_known & ~residues.is_hetero
    bonded_here = bonded[1:] & (part[1:] == part[:-1])
    is_sure[1:] |= bonded_here
    is_sure[:-1] |= bonded_here
    if is_sure.all():
        return is_sure
    place, sure = np.arange(len(part)), np.flatnonzero(is_sure)
    count = int(part[-1]) + 1 if len(part) else 0
    first, last = np.full(count, len(part)), np.full(count, -1)
    np.minimum.at(first, part[sure], sure)
    np.maximum.at(last, part[sure], sure)
    is_between = (first[part] < place) & (place < last[part])
    in_polymer = residues.in_polymer & (last[part] >= 0)
    return is_sure | is_between | in_polymer


def _distinct(chains: list[ListedChain]) -> Iterator[ListedChain]:
    """Numbers the chains that share a name: A, A.2, A.3; chains without a name become 1, 2, 3."""
    seen: Counter[str] = Counter()
    for one in chains:
        seen[one.name] += 1
        needs_no_number = seen[one.name] == 1 and (one.name or len(chains) == 1)
        number = "" if needs_no_number else str(seen[one.name])
        name = ".".join(part for part in (one.name, number) if part)
        yield one if name == one.name else replace(one, name=name)
