"""Reads the backbone atoms of an mmCIF file from the columns of its table `_atom_site`.

Coordinates, atom names, residue names and residue numbers are needed; every other column has a default.
"""

import re

import numpy as np

from partoken.protein.sources.atoms import SLOTS, Atoms, UnusableFile
from partoken.protein.sources.cif_table import PREFIX, Table, read_table

__all__ = ["COLUMNS", "atoms_of_table", "is_mmcif", "read_mmcif"]

COLUMNS = (
    "group_PDB label_atom_id auth_atom_id label_alt_id label_comp_id auth_comp_id label_asym_id auth_asym_id "
    "label_seq_id auth_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv pdbx_PDB_model_num"
).split()
"""Columns that are read."""

FIRST_MISSING = 1 << 40
"""Larger than any residue number in a file."""

_SLOTS = SLOTS | {"P": len(SLOTS)}
"""Place of an atom by its name. Phosphorus shows that a chain is a nucleic acid."""

_INTEGER = re.compile(r"([+-]?\d{1,12})(\D?)")


def is_mmcif(content: bytes) -> bool:
    """Says whether a text has a table of atoms in mmCIF."""
    return b"_" in content and PREFIX.encode() in content  # a single character is found 20 times as fast


def read_mmcif(content: bytes, *, b_factors: bool = True) -> Atoms:
    """Reads the backbone atoms of the first model of an mmCIF file.

    Arguments:
        content: ASCII text.
        b_factors: False: the B factors are not needed, and are NaN.

    Raises:
        UnusableFile: the text is not CIF, or lacks a column that is needed.
    """
    table, further = read_table(content, COLUMNS)
    return atoms_of_table(table, further, b_factors=b_factors)


def atoms_of_table(table: Table, further: int = 0, *, b_factors: bool = True) -> Atoms:
    """Reads the backbone atoms of the first model from `_atom_site`.

    Arguments:
        table: those of `COLUMNS` that the file has; a missing one has a default if there is one.
        further: number of other tables in the file.
        b_factors: see `read_mmcif`.

    Raises:
        UnusableFile: a column that is needed is missing, or an atom of a polymer has no residue number.
    """
    atom = _needed(table, "label_atom_id", "auth_atom_id")
    comp = _needed(table, "label_comp_id", "auth_comp_id")
    axes = [_needed(table, f"Cartn_{axis}") for axis in "xyz"]
    seq = _needed(table, "auth_seq_id", "label_seq_id")

    code, names = table.names(atom)
    slot = np.array([_SLOTS.get(name, -1) for name in names], dtype=np.int64)[code]
    model, models = _names(table, "pdbx_PDB_model_num")
    which = (slot >= 0) & (model == model[:1])
    table, slot = table.only(which), slot[which]

    is_placed = table.is_given("label_seq_id") if "label_seq_id" in table else np.zeros(len(table), dtype=bool)
    group, groups = _names(table, "group_PDB")
    is_hetero = np.array([name == "HETATM" for name in groups], dtype=bool)[group]
    if "group_PDB" not in table and is_placed.any():
        is_hetero = ~is_placed
    chain, chain_names = _either(table, "auth_asym_id", "label_asym_id")
    residue, residue_names = table.names(comp)
    numbers = table.decimals(*axes, seq)
    number, icode = _numbers(table, numbers[:, 3], is_hetero)
    altloc = _letters(*_names(table, "label_alt_id"))
    occupancy = _decimals(table, "occupancy") if altloc.any() else np.ones(len(table))
    atoms = Atoms(
        slot=slot,
        points=numbers[:, :3],
        residue=residue,
        chain=chain,
        segment=_names(table, "label_asym_id")[0],
        run=np.zeros(len(table), dtype=np.int64),
        number=number,
        icode=icode,
        altloc=altloc,
        occupancy=np.where(np.isnan(occupancy), 1.0, occupancy),
        b_factor=_decimals(table, "B_iso_or_equiv") if b_factors else np.full(len(table), np.nan),
        is_hetero=is_hetero,
        in_polymer=is_hetero & is_placed,
        residue_names=residue_names,
        chain_names=chain_names,
        chain_files=np.zeros(len(chain_names), dtype=np.int64),
        polymer_names=[frozenset(chain_names[one] for one in np.unique(chain[~is_hetero]))],
        further_models=[further + len(models) - 1],
    )
    is_backbone = slot < len(SLOTS)
    return atoms if is_backbone.all() else atoms.only(is_backbone)


def _needed(table: Table, *names: str) -> str:
    """Returns the first of several names that is a column."""
    for name in names:
        if name in table:
            return name
    raise UnusableFile(f"the mmCIF file has no column {' or '.join(PREFIX + name for name in names)}")


def _names(table: Table, column: str) -> tuple[np.ndarray, list[str]]:
    """Numbers the n values of a column, int [n], and returns the distinct ones; empty ones if it is missing."""
    if column in table:
        return table.names(column)
    return np.zeros(len(table), dtype=np.int64), [""]


def _decimals(table: Table, column: str) -> np.ndarray:
    return table.decimals(column)[:, 0] if column in table else np.full(len(table), np.nan)


def _either(table: Table, column: str, other: str) -> tuple[np.ndarray, list[str]]:
    """Numbers the values of a column, with those of another one where it has none."""
    code, names = _names(table, column)
    if "" not in names or other not in table:
        return code, names
    other_code, other_names = table.names(other)
    distinct = list(dict.fromkeys([*names, *other_names]))
    place = {name: number for number, name in enumerate(distinct)}
    code = np.array([place[name] for name in names], dtype=np.int64)[code]
    other_code = np.array([place[name] for name in other_names], dtype=np.int64)[other_code]
    return np.where(code == place[""], other_code, code), distinct


def _letters(code: np.ndarray, names: list[str]) -> np.ndarray:
    """Numbers n names, int [n], with 0 for none."""
    return np.array([place + 1 if name else 0 for place, name in enumerate(names)], dtype=np.int64)[code]


def _insertion_codes(code: np.ndarray, names: list[str]) -> np.ndarray:
    """Numbers n insertion codes, int [n], by the code of the letter; 0 for none."""
    numbers = [int.from_bytes(name.encode()[:4], "little") for name in names]
    return np.array(numbers, dtype=np.int64)[code]


def _numbers(table: Table, values: np.ndarray, is_hetero: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns n residue numbers and insertion codes, int [n] each; hetero atoms without a number have negative ones.

    Arguments:
        table: the rows of n atoms.
        values: their residue numbers as far as they are numbers, float64 [n].
        is_hetero: bool [n].
    """
    icode = _insertion_codes(*_names(table, "pdbx_PDB_ins_code"))
    if (np.abs(values) < FIRST_MISSING).all() and (values == np.floor(values)).all():
        return values.astype(np.int64), icode
    code, texts = _either(table, "auth_seq_id", "label_seq_id")
    matches = [_INTEGER.fullmatch(text) for text in texts]
    is_number = np.array([match is not None for match in matches], dtype=bool)[code]
    if not (is_number | is_hetero).all():
        text = texts[code[np.argmin(is_number | is_hetero)]]
        raise UnusableFile(f"an atom in the mmCIF file has the residue number '{text}', expected an integer")
    number = np.array([int(match[1]) if match else 0 for match in matches], dtype=np.int64)[code]
    letter = np.array([ord(match[2]) if match and match[2] else 0 for match in matches], dtype=np.int64)[code]
    number = np.where(is_number, number, -FIRST_MISSING - np.arange(len(code)))
    return number, np.where(letter > 0, -letter, icode)
