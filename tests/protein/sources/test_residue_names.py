"""What the reader keeps of how a file names its residues."""

import numpy as np
import pytest

from partoken.protein.sources.reading import read_file, read_structure
from tests.protein.structures import THREE, atom_line, cif_text, pdb_chain, pdb_text


@pytest.fixture
def write(tmp_path):
    def write(text, name="1abc.pdb"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_numbers_may_be_negative_and_have_insertion_codes(write, chains):
    text = pdb_chain(chains[0], "A", -2).replace(" A   4 ", " A   3A")
    names = read_file(write(text)).chains[0].names
    assert names.numbers_with_codes()[:8] == ["-2", "-1", "0", "1", "2", "3", "3A", "5"]
    assert [name.decode() for name in names.names] == [THREE[letter] for letter in chains[0].letters]


def test_a_modified_residue_keeps_its_name_in_the_file(write, chains):
    residue = THREE[chains[0].letters[4]]
    text = pdb_text(chains[0]).replace(f"{residue} A   5 ", "MSE A   5 ")
    chain = read_file(write(text)).chains[0]
    assert (chain.names.names[4], chain.letters[4]) == (b"MSE", "M")


@pytest.mark.parametrize("extension", ["pdb", "cif"])
def test_the_atom_of_a_residue_is_one_of_the_residue_in_the_file(write, chains, extension):
    water = atom_line("O", "HOH", 900, (1, 2, 3), record="HETATM")
    text = cif_text(*chains[:2]) if extension == "cif" else water + pdb_text(*chains[:2])
    path = write(text, f"two.{extension}")
    structure = read_structure(path)
    atoms = [(residue, atom) for chain in structure[0] for residue in chain for atom in residue]
    for chain in read_file(path).chains:
        for i, place in enumerate(chain.names.atoms):
            residue, atom = atoms[place]
            assert str(residue.seqid) == chain.names.numbers_with_codes()[i]
            assert np.abs(np.array(atom.pos.tolist()) - chain.coords[i]).sum(1).min() < 0.01


def test_a_file_that_has_gone_is_an_error_with_its_name(tmp_path):
    with pytest.raises(OSError) as error:
        read_structure(tmp_path / "gone.pdb")
    assert error.value.filename == str(tmp_path / "gone.pdb")
