"""Structures with a value of each residue: all atoms, names and numbers of the user's file."""

import gemmi
import pytest

from partoken.protein.explanation.file_atoms import read_atoms
from partoken.protein.explanation.structures import chain_with_values, structure_text
from partoken.protein.sources.reading import read_file
from tests.protein.structures import THREE, atom_line, pdb_chain


@pytest.fixture
def colour(tmp_path):
    """Writes a file, gives residue i of each chain the value i, and parses the text of the results again."""

    def colour(text):
        path = tmp_path / "1abc.pdb"
        path.write_text(text)
        results = []
        for chain in read_file(path, keep_names=True).chains:
            structure = chain_with_values(chain, range(len(chain)), read_atoms(path))
            text, extension = structure_text(structure, chain.id)
            parsed = gemmi.read_pdb_string(text)
            if extension == ".cif":
                parsed = gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())
            results.append((extension, parsed[0]))
        return results

    return colour


def residues(model):
    return [(chain.name, str(residue.seqid), residue.name) for chain in model for residue in chain]


def test_residues_keep_names_numbers_and_atoms_and_get_their_values(colour, chains):
    lines = pdb_chain(chains[0], "X", -2).replace(" X   4 ", " X   3A").splitlines(keepends=True)
    lines.insert(12, atom_line("CG", lines[8][17:20], 0, (3, 3, 3), chain="X"))
    [(extension, model)] = colour("".join(lines))
    assert extension == ".pdb" and len(model) == 1
    names = [THREE[letter] for letter in chains[0].letters]
    numbers = ["-2", "-1", "0", "1", "2", "3", "3A", "5"]
    assert residues(model)[:8] == [("X", number, name) for number, name in zip(numbers, names, strict=False)]
    assert [atom.name for atom in model[0][2]] == ["N", "CA", "C", "O", "CG"]
    for i, residue in enumerate(model[0]):
        assert {atom.b_iso for atom in residue} == {float(i)}


def test_ligands_and_water_of_the_chain_stay_without_a_value_and_other_chains_go(colour, chains):
    ligand = atom_line("C1", "LIG", 500, (9, 9, 9), record="HETATM")
    others = ligand + atom_line("O", "HOH", 900, (8, 8, 8), record="HETATM")
    (_, first), (_, second) = colour(pdb_chain(chains[0]) + pdb_chain(chains[1], "B") + others)
    assert residues(first)[-2:] == [("A", "500", "LIG"), ("A", "900", "HOH")]
    assert [residue[0].b_iso for residue in first[0]][-3:] == [len(chains[0]) - 1, 0, 0]
    assert {name for name, _, _ in residues(second)} == {"B"} and len(residues(second)) == len(chains[1])


def test_both_conformers_of_a_residue_have_its_value(colour, chains):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    second = [line[:16] + "B" + "GLY" + line[20:54] + "  0.40" + line[60:] for line in lines[4:8]]
    first = [line[:16] + "A" + line[17:54] + "  0.60" + line[60:] for line in lines[4:8]]
    [(_, model)] = colour("".join([*lines[:4], *first, *second, *lines[8:]]))
    values = [atom.b_iso for residue in model[0] if str(residue.seqid) == "2" for atom in residue]
    assert values == [1.0] * 8


def test_two_molecules_of_one_name_are_kept_apart(colour, chains):
    (_, first), (_, second) = colour(pdb_chain(chains[0]) + pdb_chain(chains[1]))
    assert (len(residues(first)), len(residues(second))) == (len(chains[0]), len(chains[1]))
    assert [residue[0].b_iso for residue in second[0]] == list(range(len(chains[1])))


def test_names_without_room_in_the_pdb_format_give_an_mmcif_file(chains, tmp_path):
    path = tmp_path / "1abc.pdb"
    path.write_text(pdb_chain(chains[0]))
    [chain] = read_file(path, keep_names=True).chains
    structure = chain_with_values(chain, [1.0] * len(chain), read_atoms(path))
    assert structure_text(structure, "x")[1] == ".pdb"
    structure[0][0].name = "LONG"
    text, extension = structure_text(structure, "x")
    parsed = gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())
    assert extension == ".cif" and parsed[0][0].name == "LONG" and parsed[0][0][0][0].b_iso == 1


def test_a_file_that_cannot_be_parsed_again_gives_the_backbone_with_its_names(chains, tmp_path):
    path = tmp_path / "1abc.pdb"
    path.write_text(pdb_chain(chains[0], "A", -2).replace(" A   4 ", " A   3A"))
    [chain] = read_file(path, keep_names=True).chains
    expected = chain_with_values(chain, range(len(chain)), read_atoms(path))
    path.unlink()
    assert read_atoms(path) is None
    found = chain_with_values(chain, range(len(chain)), None)
    assert residues(found[0]) == residues(expected[0])
    for ours, theirs in zip(found[0].all(), expected[0].all(), strict=True):
        assert ours.atom.b_iso == theirs.atom.b_iso and ours.atom.pos.dist(theirs.atom.pos) < 0.001


def test_a_chain_of_another_file_gives_the_backbone(chains, tmp_path):
    for name, chain in (("a.pdb", chains[0]), ("b.pdb", chains[1])):
        (tmp_path / name).write_text(pdb_chain(chain))
    [chain] = read_file(tmp_path / "a.pdb", keep_names=True).chains
    found = chain_with_values(chain, [1.0] * len(chain), read_atoms(tmp_path / "b.pdb"))
    assert len(residues(found[0])) == len(chain)


def test_a_residue_without_usable_geometry_keeps_its_atoms(colour, chains):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    lines[9] = lines[9][:30] + f"{900:8.3f}" + lines[9][38:]
    [(_, model)] = colour("".join(lines))
    assert [atom.b_iso for atom in model[0][2]] == [2.0] * 4
