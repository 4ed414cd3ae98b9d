"""The one-letter codes of residue names: standard, modified, and as force fields write them."""

from functools import lru_cache
from typing import NamedTuple

import gemmi

__all__ = ["AminoAcid", "amino_acid", "is_force_field_name"]

_STANDARD = dict(
    zip(
        "ALA CYS ASP GLU PHE GLY HIS ILE LYS LEU MET ASN PRO GLN ARG SER THR VAL TRP TYR".split(),
        "ACDEFGHIKLMNPQRSTVWY",
        strict=True,
    )
)

_STATES = {
    "C": "CYX CYM CYD CYH CYT CYSH CYSM CYSP CYSS CYSX CYS1 CYS2",
    "D": "ASH AS4 ASPH ASPP",
    "E": "GLH GL4 GLUH GLUP",
    "H": "HID HIE HIP HIN HSD HSE HSP HISA HISB HISD HISE HISH HISP HIS1 HIS2",
    "K": "LYN LYP LSN LYSH LYSN LYSP",
    "R": "ARN ARGN ARGP",
    "S": "SRO SERD",
    "T": "THO",
    "Y": "TYM TYO TYRM TYRU",
}
"""Names of protonation states and disulfide bridges in AMBER, CHARMM, GROMOS, OPLS and programs that use them."""

_FORCE_FIELD = {name: letter for letter, names in _STATES.items() for name in names.split()}
_PLAIN = _STANDARD | _FORCE_FIELD

_FIRST_LETTERS = "NCD"
"""In front of a name of three letters: N-terminal and C-terminal (AMBER), D-amino acid (CHARMM)."""


class AminoAcid(NamedTuple):
    """What a residue name says about an amino acid."""

    letter: str
    """One-letter code of the parent amino acid."""
    is_modified: bool
    """False for the twenty standard ones, whatever their protonation and name."""


@lru_cache(maxsize=4096)
def amino_acid(name: str) -> AminoAcid | None:
    """Returns the amino acid of a residue name; None for another molecule and for an unknown name.

    >>> amino_acid("HIE"), amino_acid("MSE").letter, amino_acid("NALA").letter, amino_acid("HOH")
    (AminoAcid(letter='H', is_modified=False), 'M', 'A', None)
    """
    name = name.upper()
    if name in _PLAIN:
        return AminoAcid(_PLAIN[name], False)
    entry = gemmi.find_tabulated_residue(name)
    if entry.is_amino_acid():
        return AminoAcid(entry.one_letter_code.upper(), not entry.is_standard())
    if is_force_field_name(name):
        return AminoAcid(_PLAIN[name[1:]], name[0] == "D")
    if len(name) == 4 and name[:3] in _PLAIN and not entry.found():
        return AminoAcid(_PLAIN[name[:3]], False)
    return None


def is_force_field_name(name: str) -> bool:
    """Says whether a residue name of four letters is one that a force field uses for an amino acid.

    >>> is_force_field_name("LYSH"), is_force_field_name("CALA"), is_force_field_name("ALAX")
    (True, True, False)
    """
    if len(name) != 4:
        return False
    return name in _FORCE_FIELD or (name[0] in _FIRST_LETTERS and name[1:] in _PLAIN)
