"""Groups backbone atoms into residues, with one conformer of each."""

from dataclasses import dataclass

import numpy as np

from partoken.protein.chains.backbone import ATOMS
from partoken.protein.sources.amino_acids import amino_acid
from partoken.protein.sources.atoms import Atoms, Notes, UnusableFile, run_starts
from partoken.protein.sources.conformers import choose_conformers

__all__ = ["MAX_REPEATED", "Residues", "residues_of"]

MAX_REPEATED = 2
"""Residues of a file that may occur twice or contain an atom twice; the first copy counts."""

MAX_POSITION = 1e6
"""Angstrom; larger numbers are damage, and they overflow in products."""

MAX_KINDS = 62
"""Kinds of atoms, by place and conformer, that are told apart when a residue goes on later in the file."""

TWICE = "residues that occur twice: two molecules under one chain name, or a damaged file"

_OXYGEN = ATOMS.index("O")


@dataclass(frozen=True)
class Residues:
    """L residues of some files, each with at least one backbone atom, in the order of their first atoms."""

    coords: np.ndarray
    """float64 [L, 4, 3]: N, CA, C, O in angstrom; NaN for a missing atom."""
    is_listed: np.ndarray
    """bool [L, 4]: the file has the atom, perhaps without coordinates."""
    name: np.ndarray
    """int [L]: position in the residue names of the atoms."""
    chain: np.ndarray
    """int [L]: position in the chain names of the atoms."""
    segment: np.ndarray
    """int [L]."""
    run: np.ndarray
    """int [L]: number of TER lines before the residue, in all files."""
    number: np.ndarray
    """int [L]."""
    icode: np.ndarray
    """Insertion codes, int [L]; 0 for none."""
    is_hetero: np.ndarray
    """bool [L]."""
    in_polymer: np.ndarray
    """bool [L]: the file says that a hetero residue belongs to a polymer."""
    b_factors: np.ndarray
    """float64 [L, 4]: the B column of N, CA, C, O; NaN for a missing atom."""

    def __len__(self) -> int:
        return len(self.name)

    def only(self, which: np.ndarray) -> "Residues":
        """Returns some of the residues, chosen by bool [L] or positions."""
        return Residues(**{name: value[which] for name, value in vars(self).items()})


def residues_of(atoms: Atoms, notes: Notes) -> Residues:
    """Groups atoms into residues.

    Arguments:
        atoms: the atoms of one model of each file.
        notes: gets the numbers of residues with several conformers and of atoms that occur twice.

    Raises:
        UnusableFile: more than `MAX_REPEATED` residues of a file contain an atom twice.
    """
    atoms, site = _sites(atoms)
    chosen = _chosen(atoms, site, notes)
    if len(chosen) < len(site):
        atoms, site = atoms.only(chosen), site[chosen]
    count = int(site.max()) + 1 if len(site) else 0
    place = site * len(ATOMS) + atoms.slot
    is_position = np.abs(atoms.points) < MAX_POSITION
    coords = np.full((count * len(ATOMS), 3), np.nan)
    coords[place] = atoms.points if is_position.all() else np.where(is_position.all(1)[:, None], atoms.points, np.nan)
    is_listed = np.zeros(count * len(ATOMS), dtype=bool)
    is_listed[place] = True
    b_factors = np.full(count * len(ATOMS), np.nan)
    b_factors[place] = atoms.b_factor
    first = np.zeros(count, dtype=np.int64)
    first[site[::-1]] = np.arange(len(site))[::-1]  # the last assignment to a place counts
    return Residues(
        coords=coords.reshape(count, len(ATOMS), 3),
        is_listed=is_listed.reshape(count, len(ATOMS)),
        name=atoms.residue[first],
        chain=atoms.chain[first],
        segment=atoms.segment[first],
        run=atoms.run[first],
        number=atoms.number[first],
        icode=atoms.icode[first],
        is_hetero=atoms.is_hetero[first],
        in_polymer=atoms.in_polymer[first],
        b_factors=b_factors.reshape(count, len(ATOMS)),
    )


def _sites(atoms: Atoms) -> tuple[Atoms, np.ndarray]:
    """Numbers the residues of atoms.

    A residue is a stretch of atoms with one number in one chain. Two residues that meet with one number are told apart
    by their atoms, which start again. A residue goes on where further atoms of it come later in the file.

    Returns:
        The n atoms without the oxygens of waters; and the residue of each, int [n].
    """
    is_new = np.ones(len(atoms), dtype=bool)
    is_new[1:] = (atoms.residue[1:] != atoms.residue[:-1]) & ((atoms.altloc[1:] == 0) | (atoms.altloc[:-1] == 0))
    for code in (atoms.number, atoms.icode, atoms.chain, atoms.run, atoms.segment):
        is_new[1:] |= code[1:] != code[:-1]
    stretch = np.cumsum(is_new) - 1

    is_known = np.array([amino_acid(name) is not None for name in atoms.residue_names], dtype=bool)
    has_backbone = np.bincount(stretch, atoms.slot != _OXYGEN) > 0
    used = has_backbone[stretch] | is_known[atoms.residue]
    if not used.all():
        atoms, stretch = atoms.only(used), np.unique(stretch[used], return_inverse=True)[1]

    repeated = _repeated(atoms, stretch)
    if repeated.any():
        stretch = _divided(atoms, stretch, np.unique(stretch[repeated]))
    return atoms, _continued(atoms, stretch)


def _repeated(atoms: Atoms, site: np.ndarray) -> np.ndarray:
    """Returns which atoms repeat an earlier atom of the same residue, conformer and residue name, bool [n]."""
    place = site * len(ATOMS) + atoms.slot
    repeated = np.zeros(len(place), dtype=bool)
    if len(place) and np.bincount(place).max() > 1:
        repeated[earlier(place, atoms.altloc, atoms.residue)[0]] = True
    return repeated


def earlier(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows whose keys an earlier row has, ascending, and the last such row of each; int [k] both.

    >>> again, before = earlier(np.array([7, 8, 7, 7]))
    >>> again.tolist(), before.tolist()
    ([2, 3], [0, 2])
    """
    keys = tuple(key for key in keys if len(key) and (key != key[0]).any()) or keys[:1]
    order = np.lexsort(keys)  # stable: equal keys stay in order
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    again, before = order[1:][same], order[:-1][same]
    ascending = np.argsort(again)
    return again[ascending], before[ascending]


def ascend(number: np.ndarray, group: np.ndarray) -> bool:
    """Says whether n numbers ascend within each group, and each group is one stretch: then no number occurs twice.

    >>> ascend(np.array([1, 2, 1, 3]), np.array([0, 0, 1, 1])), ascend(np.array([1, 2]), np.array([0, 1]))
    (True, True)
    >>> ascend(np.array([1, 1]), np.array([0, 0])), ascend(np.array([1, 2, 3]), np.array([0, 1, 0]))
    (False, False)
    """
    goes_on = group[1:] == group[:-1]
    if (number[1:] <= number[:-1])[goes_on].any():
        return False
    groups = group[run_starts(group)].tolist()
    return len(set(groups)) == len(groups)


def _divided(atoms: Atoms, stretch: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Divides stretches in which a complete residue is followed by a second one; returns their numbers, int [n]."""
    starts = np.zeros(len(stretch), dtype=np.int64)
    for one in candidates:
        begin, end = np.searchsorted(stretch, [one, one + 1])
        seen: set[tuple[int, ...]] = set()
        rows = zip(atoms.slot[begin:end], atoms.altloc[begin:end], atoms.residue[begin:end], strict=True)
        first = (int(atoms.slot[begin]), int(atoms.altloc[begin]))
        for place, (slot, altloc, residue) in enumerate(rows, begin):
            is_complete = all((number, altloc, residue) in seen for number in range(_OXYGEN))
            if (slot, altloc) == first and (slot, altloc, residue) in seen and is_complete:
                starts[place] = 1
                seen.clear()
            seen.add((slot, altloc, residue))
    return stretch + np.cumsum(starts)


def _continued(atoms: Atoms, stretch: np.ndarray) -> np.ndarray:
    """Joins stretches with the names and number of an earlier one that lacks their atoms; numbers residues, int [n]."""
    first = run_starts(stretch)
    number, chain = atoms.number[first], atoms.chain[first]
    if ascend(number, chain):
        return stretch
    keys = [code[first] for code in (atoms.icode, atoms.residue, atoms.segment, atoms.run)]
    later, before = earlier(number, chain, *keys)
    if not len(later):
        return stretch
    # A bit for each kind of atom; integers, because a damaged file may have millions of stretches.
    kinds = np.unique(atoms.altloc * len(ATOMS) + atoms.slot, return_inverse=True)[1] % MAX_KINDS
    content = np.bitwise_or.reduceat(np.left_shift(1, kinds), first).tolist()
    site_of = np.arange(len(first))
    for one, previous in zip(later.tolist(), before.tolist(), strict=True):
        site = int(site_of[previous])
        if not content[site] & content[one]:
            site_of[one] = site
            content[site] |= content[one]
    return np.unique(site_of, return_inverse=True)[1][stretch]


def _chosen(atoms: Atoms, site: np.ndarray, notes: Notes) -> np.ndarray:
    """Returns the positions of one conformer of each residue, with each atom once."""
    repeated = _repeated(atoms, site)
    has_choice = repeated | (atoms.altloc != 0)
    if not has_choice.any():
        return np.arange(len(site))
    if repeated.any():
        file_of_site = np.zeros(int(site.max()) + 1, dtype=np.int64)
        file_of_site[site] = atoms.chain_files[atoms.chain]
        if np.bincount(file_of_site[np.unique(site[repeated])]).max() > MAX_REPEATED:
            raise UnusableFile(TWICE)
        notes.count("atoms that occur twice", atoms.chain_files[atoms.chain[repeated]])
    has_choice = np.bincount(site, has_choice)[site] > 0
    alone, choice = (~has_choice).nonzero()[0], has_choice.nonzero()[0]
    chosen, changed = choose_conformers(
        site[choice], atoms.slot[choice], atoms.residue[choice], atoms.altloc[choice], atoms.occupancy[choice]
    )
    notes.count("residues with alternate conformations", atoms.chain_files[atoms.chain[choice[changed]]])
    return np.concatenate([alone, choice[chosen]])
