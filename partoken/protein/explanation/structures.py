"""Structures of single chains with a value of each residue in the place of the B factors."""

from collections.abc import Sequence

import gemmi
import numpy as np

from partoken.protein.chains.backbone import ATOMS, Backbone
from partoken.protein.explanation.file_atoms import FileAtoms

__all__ = ["chain_with_values", "structure_text"]

_PDB_NUMBERS = range(-999, 10_000)
_PDB_ATOMS = 99_999
_LARGEST_NUMBER = 1 << 31
"""Numbers of residues in gemmi have 32 bits."""


def chain_with_values(chain: Backbone, values: Sequence[float], file: FileAtoms | None) -> gemmi.Structure:
    """Copies a chain with all its atoms, and what the file has under the same chain name: ligands, ions, water.

    Names and numbers stay as they are. Atoms of no residue of the chain have the B factor 0. If a residue is not found
    in the file, or there is no file, the copy has the backbone alone.

    Arguments:
        chain: The chain, with the names of its L residues.
        values: L new B factors, from 0 to 100.
        file: All atoms of the file; None: it cannot be parsed.
    """
    assert chain.names is not None, "read from a structure file"
    places = None if file is None else file.find(chain.names)
    copy = _backbone(chain, values) if file is None or places is None else _all_atoms(file, places, values)
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
        return structure.make_pdb_string(gemmi.PdbWriteOptions(minimal=True, cryst1_record=False)), ".pdb"
    return structure.make_mmcif_document().as_string(), ".cif"


def _all_atoms(file: FileAtoms, places: Sequence[int], values: Sequence[float]) -> gemmi.Chain:
    """Copies the residues at some places of the file, what lies between them, and ligands of the same chain name."""
    # Two conformers of a residue may have different names; they share the number.
    value_of = {file.key(place): value for place, value in zip(places, values, strict=True) if place >= 0}
    first, last = min(place for place in places if place >= 0), max(places)
    copy = gemmi.Chain(file.chain_name(first))
    for place, residue in enumerate(file.residues):
        value = value_of.get(file.key(place))
        is_inside = first <= place <= last or (value is not None and place in (first - 1, last + 1))
        is_ligand = residue.entity_type != gemmi.EntityType.Polymer and value is None
        if file.chain_name(place) == copy.name and (is_inside or is_ligand):
            _add(copy, residue, value or 0.0)
    return copy


def _add(chain: gemmi.Chain, residue: gemmi.Residue, value: float) -> None:
    """Adds a copy of a residue with new B factors."""
    for atom in chain.add_residue(residue):
        atom.b_iso = value
        atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)


def _backbone(chain: Backbone, values: Sequence[float]) -> gemmi.Chain:
    """Builds the backbone of a chain; a residue without a number gets its position, counted from 1."""
    assert chain.names is not None, "read from a structure file"
    result = gemmi.Chain(chain.fields.get("chain", ""))
    names = zip(chain.names.numbers, chain.names.insertion_codes, chain.names.names, strict=True)
    for position, (number, code, name) in enumerate(names):
        residue = gemmi.Residue()
        residue.name, residue.het_flag = name, "A"
        fits = number and abs(int(number)) < _LARGEST_NUMBER
        residue.seqid = gemmi.SeqId(int(number) if fits else position + 1, code[:1] or " ")
        for atom_name, point in zip(ATOMS, chain.coords[position].tolist(), strict=True):
            if np.isfinite(point).all():
                atom = gemmi.Atom()
                atom.name, atom.element = atom_name, gemmi.Element(atom_name[0])
                atom.pos, atom.b_iso = gemmi.Position(*point), values[position]
                residue.add_atom(atom)
        if len(residue):
            result.add_residue(residue)
    return result


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
