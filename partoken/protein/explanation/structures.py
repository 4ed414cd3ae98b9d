"""Structures of single chains with a value of each residue in the place of the B factors."""

import errno
from collections.abc import Sequence

import gemmi
import numpy as np

from partoken.protein.chains.backbone import ResidueNames

__all__ = ["chain_with_values", "structure_text"]

_PDB_NUMBERS = range(-999, 10_000)
_PDB_ATOMS = 99_999


def chain_with_values(file: gemmi.Structure, residues: ResidueNames, values: Sequence[float]) -> gemmi.Structure:
    """Copies a chain with all its atoms, and what the file has under the same chain name: ligands, ions, water.

    Names and numbers stay as they are. All other atoms have the B factor 0.

    Arguments:
        file: The file, as `partoken.protein.sources.reading.read_structure` parses it.
        residues: L residues of a chain in the file.
        values: L new B factors, from 0 to 100.

    Raises:
        OSError: the file has fewer atoms than when the chain was read.
    """
    pairs = [(number, residue) for number, chain in enumerate(file[0]) for residue in chain]
    ends = np.cumsum([len(residue) for _, residue in pairs])
    places = np.searchsorted(ends, residues.atoms, side="right")
    if places.max() >= len(pairs):
        raise OSError(errno.EIO, "the file has changed while it was read", file.name)
    # Two conformers of a residue may have different names; they share the number.
    value_of = {_key(*pairs[place]): value for place, value in zip(places, values, strict=True)}
    first, last = int(places.min()), int(places.max())
    name = file[0][pairs[first][0]].name
    copy = gemmi.Chain(name)
    for place, (number, residue) in enumerate(pairs):
        is_inside = first <= place <= last or _key(number, residue) in value_of
        is_ligand = residue.entity_type != gemmi.EntityType.Polymer
        if file[0][number].name == name and (is_inside or is_ligand):
            value = value_of.get(_key(number, residue), 0.0) if is_inside else 0.0
            _add(copy, residue, value)
    result = gemmi.Structure()
    result.add_model(gemmi.Model(1))
    result[0].add_chain(copy)
    result.setup_entities()
    return result


def structure_text(structure: gemmi.Structure, title: str) -> tuple[str, str]:
    """Returns the text of a file and its extension: `.pdb`, or `.cif` if the PDB format has no room for the names.

    Arguments:
        structure: A single chain.
        title: Name of the data block of an mmCIF file: letters, digits, `.`, `_` and `-`.
    """
    structure.name = title
    if _fits_pdb(structure):
        return structure.make_minimal_pdb(), ".pdb"
    return structure.make_mmcif_document().as_string(), ".cif"


def _key(chain: int, residue: gemmi.Residue) -> tuple[int, str]:
    return chain, str(residue.seqid)


def _add(chain: gemmi.Chain, residue: gemmi.Residue, value: float) -> None:
    """Adds a copy of a residue with new B factors."""
    copy = chain.add_residue(residue)
    for atom in copy:
        atom.b_iso = value
        atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)


def _fits_pdb(structure: gemmi.Structure) -> bool:
    """Whether the PDB format has columns for the names, numbers and positions of a chain."""
    [chain] = structure[0]
    box = structure.calculate_box()
    positions = [*box.minimum.tolist(), *box.maximum.tolist()]
    return (
        len(chain.name) <= 1
        and chain.count_atom_sites() < _PDB_ATOMS
        and all(len(residue.name) <= 3 and residue.seqid.num in _PDB_NUMBERS for residue in chain)
        and -999 < min(positions)
        and max(positions) < 9999
    )
