"""The backbone atoms that structure files list, before anything is decided about residues and chains.

Files are read together: a step of NumPy takes the same time for one small file as for eight.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from partoken.protein.chains.backbone import ATOMS

__all__ = ["SLOTS", "Atoms", "Notes", "UnusableFile", "join", "number_names", "number_runs", "run_starts"]

FEW = 100
"""Codes of which the distinct ones are sorted first; most files repeat these."""

SLOTS = {name: slot for slot, name in enumerate(ATOMS)}
"""Place of an atom in a residue by its name: N, CA, C, O."""


class UnusableFile(Exception):
    """A file gives no backbone; the message says why."""


class Notes:
    """Numbers of residues, atoms, chains or models that each kind of cleaning changed, for each of several files."""

    def __init__(self, files: int) -> None:
        self.of_file: list[Counter[str]] = [Counter() for _ in range(files)]

    def count(self, what: str, files: np.ndarray) -> None:
        """Adds 1 to a note of a file each time that the file is named: int [n]."""
        for file, number in enumerate(np.bincount(files).tolist() if len(files) else ()):
            if number:
                self.of_file[file][what] += number


@dataclass(frozen=True)
class Atoms:
    """The n backbone atoms of the first models of some files, in the order of the files.

    Names are numbers here: their position in `residue_names` and `chain_names`. So they may have any length.
    """

    slot: np.ndarray
    """int [n]: place among `ATOMS`."""
    points: np.ndarray
    """float64 [n, 3] in angstrom; not finite where the file has no number."""
    residue: np.ndarray
    """int [n]: name of the residue."""
    chain: np.ndarray
    """int [n]: name of the chain. Chains of two files have different numbers, also if they have the same name."""
    segment: np.ndarray
    """int [n]: a second name of the molecule, such as the segment identifier of a PDB file."""
    run: np.ndarray
    """int [n]: number of TER lines before the atom, in all files."""
    number: np.ndarray
    """int [n]: number of the residue."""
    icode: np.ndarray
    """int [n]: insertion code, the code of its letter; 0 for none, negative if the letter stands in the number."""
    altloc: np.ndarray
    """int [n]: conformer; 0 for none."""
    occupancy: np.ndarray
    """float64 [n]; 1 throughout a file without conformers."""
    b_factor: np.ndarray
    """float64 [n]: the B column; NaN where it is not a number."""
    is_hetero: np.ndarray
    """bool [n]: the atom has a HETATM record."""
    in_polymer: np.ndarray
    """bool [n]: the file says that the atom belongs to a polymer, although it has a HETATM record."""
    residue_names: list[str]
    chain_names: list[str]
    chain_files: np.ndarray
    """int [chain names]: the file of each."""
    polymer_names: list[frozenset[str]]
    """For each file, names of the chains with an ATOM record of a backbone atom or of phosphorus."""
    further_models: list[int]
    """For each file, the number of models after the first."""

    def __len__(self) -> int:
        return len(self.slot)

    @property
    def num_files(self) -> int:
        return len(self.further_models)

    def only(self, which: np.ndarray) -> "Atoms":
        """Returns some of the atoms, chosen by bool [n] or positions."""
        return replace(self, **{name: getattr(self, name)[which] for name in _OF_ATOMS})


_OF_ATOMS = tuple(field.name for field in fields(Atoms) if field.type is np.ndarray and field.name != "chain_files")
"""The fields of `Atoms` that have a value for each atom."""


def join(parts: Sequence[Atoms]) -> Atoms:
    """Returns the atoms of several files, one after another."""
    if len(parts) == 1:
        return parts[0]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _OF_ATOMS}
    lengths = [len(part) for part in parts]
    for name, names in (("residue", "residue_names"), ("chain", "chain_names")):
        before = np.cumsum([0, *(len(getattr(part, names)) for part in parts[:-1])])
        arrays[name] = arrays[name] + np.repeat(before, lengths)
    first_files = np.cumsum([0, *(part.num_files for part in parts[:-1])])
    return Atoms(
        **arrays,
        residue_names=[name for part in parts for name in part.residue_names],
        chain_names=[name for part in parts for name in part.chain_names],
        chain_files=np.concatenate([part.chain_files + first for part, first in zip(parts, first_files, strict=True)]),
        polymer_names=[names for part in parts for names in part.polymer_names],
        further_models=[number for part in parts for number in part.further_models],
    )


def number_names(names: Iterable[str]) -> tuple[np.ndarray, list[str]]:
    """Numbers n names in the order of their first occurrence.

    Returns:
        The number of each name, int [n]; and the distinct names.

    >>> numbers, distinct = number_names(["B", "A", "B"])
    >>> numbers.tolist(), distinct
    ([0, 1, 0], ['B', 'A'])
    """
    number_of: dict[str, int] = {}
    numbers = [number_of.setdefault(name, len(number_of)) for name in names]
    return np.array(numbers, dtype=np.int64), list(number_of)


def number_runs(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers n codes of which many in a row are equal: the number of each, int [n], and the distinct codes.

    >>> numbers, distinct = number_runs(np.array([7, 7, 5]))
    >>> numbers.tolist(), distinct.tolist()
    ([1, 1, 0], [5, 7])
    """
    is_new = _differ(codes)
    heads = codes[is_new]
    if len(heads) < 2:
        return np.zeros(len(codes), dtype=np.int64), heads
    distinct = np.unique(heads[:FEW])
    numbers = np.minimum(distinct.searchsorted(heads), len(distinct) - 1)
    is_other = distinct[numbers] != heads
    if is_other.any():
        distinct = np.union1d(distinct, heads[is_other])
        numbers = distinct.searchsorted(heads)
    return numbers[is_new.cumsum() - 1], distinct


def run_starts(codes: np.ndarray) -> np.ndarray:
    """Returns the positions at which n codes differ from the code before, and 0.

    >>> run_starts(np.array([7, 7, 5])).tolist()
    [0, 2]
    """
    return _differ(codes).nonzero()[0]


def _differ(codes: np.ndarray) -> np.ndarray:
    """Returns which of n codes differ from the code before, bool [n]; the first one does."""
    is_new = np.empty(len(codes), dtype=bool)
    is_new[:1] = True
    np.not_equal(codes[1:], codes[:-1], out=is_new[1:])
    return is_new
