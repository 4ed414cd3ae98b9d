"""Text of structure files that tests write from chains with known coordinates."""

from collections.abc import Iterable

import numpy as np

from partoken.protein.chains.backbone import ATOMS, Backbone

THREE = dict(
    zip(
        "ACDEFGHIKLMNPQRSTVWYX",
        "ALA CYS ASP GLU PHE GLY HIS ILE LYS LEU MET ASN PRO GLN ARG SER THR VAL TRP TYR UNK".split(),
        strict=True,
    )
)


def atom_line(
    name: str,
    residue: str,
    number: int,
    point: Iterable[float],
    *,
    chain: str = "A",
    altloc: str = " ",
    icode: str = " ",
    occupancy: float = 1.0,
    record: str = "ATOM",
) -> str:
    """Returns an atom line of a PDB file; `point` is in angstrom."""
    x, y, z = point
    return (
        f"{record:<6}{1:5d}  {name:<3}{altloc}{residue:>3} {chain}{number:4d}{icode}   "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{0.0:6.2f}          {name[0]:>2}\n"
    )


def pdb_chain(backbone: Backbone, chain: str = "A", start: int = 1) -> str:
    """Returns the atom lines of a chain, with residues numbered from `start`, and its TER line."""
    lines = []
    for number, (points, letter) in enumerate(zip(backbone.coords, backbone.letters, strict=True), start):
        for name, point in zip(ATOMS, points, strict=True):
            if np.isfinite(point).all():
                lines.append(atom_line(name, THREE[letter], number, point, chain=chain))
    return "".join(lines) + "TER\n"


def pdb_text(*chains: Backbone) -> str:
    """Returns a PDB file with the chains A, B, ..."""
    return "".join(pdb_chain(one, chain) for one, chain in zip(chains, "ABCDEFGH", strict=False)) + "END\n"


def cif_text(*chains: Backbone) -> str:
    """Returns an mmCIF file with the chains A, B, ..."""
    columns = (
        "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id "
        "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id auth_asym_id pdbx_PDB_model_num"
    ).split()
    lines = ["data_TEST", "loop_", *(f"_atom_site.{c}" for c in columns)]
    serial = 0
    for one, chain in zip(chains, "ABCDEFGH", strict=False):
        for number, (points, letter) in enumerate(zip(one.coords, one.letters, strict=True), 1):
            for name, (x, y, z) in zip(ATOMS, points, strict=True):
                if np.isfinite(x):
                    serial += 1
                    lines.append(
                        f"ATOM {serial} {name[0]} {name} . {THREE[letter]} {chain} 1 {number} ? "
                        f"{x:.3f} {y:.3f} {z:.3f} 1.0 0.0 {number} {chain} 1"
                    )
    return "\n".join(lines) + "\n"
