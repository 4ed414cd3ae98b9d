"""One-letter codes of residue names."""

import pytest

from partoken.protein.sources.amino_acids import amino_acid, is_force_field_name


@pytest.mark.parametrize(
    "letter, names",
    [
        ("C", "CYS CYX CYM CYSH CYS1 CYS2 NCYX CCYX CCYM"),
        ("D", "ASP ASH ASPH ASPP NASP CASP"),
        ("E", "GLU GLH GLUH GLUP NGLU CGLH"),
        ("H", "HIS HID HIE HIP HSD HSE HSP HISA HISB HISD HISE HISH HIS1 NHID CHIE NHIP CHIP HSDX"),
        ("K", "LYS LYN LYSH LSN LYP NLYS CLYS CLYN"),
        ("R", "ARG ARN ARGN NARG CARG"),
        ("Y", "TYR TYM NTYR"),
        ("A", "ALA NALA CALA DALA"),
        ("N", "ASN NASN CASN"),
        ("M", "MET NMET"),
    ],
)
def test_names_of_force_fields_have_the_letter_of_the_parent(letter, names):
    found = {name: amino_acid(name) for name in names.split()}
    assert {name: one.letter if one else None for name, one in found.items()} == dict.fromkeys(found, letter)
    assert not any(one.is_modified for name, one in found.items() if name[0] != "D")


@pytest.mark.parametrize("name, letter", [("MSE", "M"), ("SEP", "S"), ("DAL", "A"), ("DHI", "H"), ("HYP", "P")])
def test_modified_residues_have_the_letter_of_the_parent(name, letter):
    assert amino_acid(name) == (letter, True)


@pytest.mark.parametrize("name", "HOH SOL SPC TP3 TIP3 POP POPC LIG HEM ATP NA CL CA ACE NME NAG DA ZZZ".split())
def test_other_molecules_are_no_amino_acids(name):
    assert amino_acid(name) is None


def test_a_standard_name_with_a_letter_behind_it_is_not_a_name_of_a_force_field():
    assert is_force_field_name("LYSH") and is_force_field_name("NHIE")
    assert not is_force_field_name("ALAA") and not is_force_field_name("ALA")
