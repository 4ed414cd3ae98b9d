"""All atoms of a structure file, and where the residues of a chain are among them."""

import os
from collections import Counter

import gemmi
import numpy as np

from partoken.protein.chains.backbone import ATOMS, ResidueNames
from partoken.protein.sources.atoms import UnusableFile
from partoken.protein.sources.content import read_content
from partoken.protein.sources.mmcif import is_mmcif

__all__ = ["FileAtoms", "read_atoms"]

_END_OF_MODEL = b"\nENDMDL"
_NO_LIMIT = 1 << 20
"""Megabytes; the limit was checked when the backbones were read."""
_Cell = tuple[int, ...]
_GRID = 1000.0
"""Positions are compared in thousandths of an angstrom, the precision of PDB files."""


class FileAtoms:
    """The residues of the first model of a file, of all kinds, in the order of the file.

    The reader of backbones and gemmi number chains and residues in different ways if a file is strange. The positions
    of the backbone atoms are the same for both, so they identify a residue.
    """

    def __init__(self, structure: gemmi.Structure) -> None:
        self.structure = structure  # it owns the memory of its residues
        pairs = [(number, residue) for number, chain in enumerate(structure[0]) for residue in chain]
        self.chains = [number for number, _ in pairs]
        self.residues = [residue for _, residue in pairs]
        self._places: dict[_Cell, list[int]] = {}
        for place, residue in enumerate(self.residues):
            for atom in residue:
                if atom.name in ATOMS:
                    self._places.setdefault(_cell(atom.pos.tolist()), []).append(place)

    def key(self, place: int) -> tuple[int, str]:
        """Returns what is equal for the conformers of a residue: its chain and number."""
        return self.chains[place], str(self.residues[place].seqid)

    def chain_name(self, place: int) -> str:
        """Returns the name of a residue's chain."""
        name: str = self.structure[0][self.chains[place]].name
        return name

    def find(self, names: ResidueNames) -> list[int] | None:
        """Finds the residues of a chain.

        Returns:
            The place of each residue, -1 if it has no position; None if one that has a position is not there.
        """
        places: list[int] = []
        used: set[int] = set()
        for points in names.points:
            cells = [_cell(point) for point in points[np.isfinite(points).all(1)].tolist()]
            votes = Counter(place for cell in cells for place in self._places.get(cell, []) if place not in used)
            if cells and not votes:
                return None
            places.append(votes.most_common(1)[0][0] if cells else -1)
            used.add(places[-1])
        return places if used - {-1} else None


def read_atoms(file: str | os.PathLike[str]) -> FileAtoms | None:
    """Parses a PDB or mmCIF file with gemmi; None if that does not work, as for BinaryCIF.

    Arguments:
        file: The file, or the member of an archive, whose backbones have been read before.
    """
    try:
        content = read_content(file, _NO_LIMIT)
        structure = _parse(content)
    except (UnusableFile, RuntimeError, ValueError, IndexError, OverflowError):  # the last ones are from gemmi's C++
        return None
    if structure is None or len(structure) == 0:
        return None
    structure.setup_entities()
    return FileAtoms(structure)


def _parse(content: bytes) -> gemmi.Structure | None:
    if not is_mmcif(content):
        end = content.find(_END_OF_MODEL)
        text = content if end < 0 else content[: end + len(_END_OF_MODEL)] + b"\n"
        # Without the split, gemmi would merge equal residue numbers of two molecules with one chain name.
        return gemmi.read_pdb_string(text, split_chain_on_ter=True)
    for block in gemmi.cif.read_string(content):
        if block.find_values("_atom_site.Cartn_x"):
            return gemmi.make_structure_from_block(block)
    return None


def _cell(point: list[float]) -> _Cell:
    return tuple(round(number * _GRID) for number in point)
