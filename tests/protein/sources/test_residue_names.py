"""What the reader keeps of how a file names its residues."""

import numpy as np
import pytest

from partoken.protein.sources.reading import read_file
from tests.protein.structures import THREE, cif_text, pdb_chain, pdb_text


@pytest.fixture
def names_in(tmp_path):
    """Returns the names in the first chain of a file."""

    def names_in(text, name="1abc.pdb"):
        (tmp_path / name).write_text(text)
        return read_file(tmp_path / name, keep_names=True).chains[0].names

    return names_in


def test_numbers_may_be_negative_and_have_insertion_codes(names_in, chains):
    names = names_in(pdb_chain(chains[0], "A", -2).replace(" A   4 ", " A   3A"))
    assert names.numbers[:8] == ["-2", "-1", "0", "1", "2", "3", "3", "5"]
    assert names.insertion_codes[:8] == ["", "", "", "", "", "", "A", ""]
    assert names.names == [THREE[letter] for letter in chains[0].letters]


def test_an_mmcif_file_has_the_numbers_of_the_authors_and_their_insertion_codes(names_in, chains):
    lines = cif_text(chains[0]).splitlines()
    fifth = [line.split() for line in lines if line.startswith("ATOM") and line.split()[8] == "5"]
    changed = "\n".join(lines) + "\n"
    for words in fifth:
        old = " ".join(words)
        words[9], words[15] = "B", "104"
        changed = changed.replace(old + "\n", " ".join(words) + "\n")
    names = names_in(changed, "1abc.cif")
    assert names.numbers[3:6] == ["4", "104", "6"] and names.insertion_codes[3:6] == ["", "B", ""]


def test_a_modified_residue_keeps_its_name_in_the_file(names_in, chains):
    residue = THREE[chains[0].letters[4]]
    assert names_in(pdb_text(chains[0]).replace(f"{residue} A   5 ", "MSE A   5 ")).names[4] == "MSE"


def test_a_residue_with_impossible_geometry_keeps_its_position_in_the_file(names_in, chains, tmp_path):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    lines[9] = lines[9][:30] + f"{900:8.3f}" + lines[9][38:]
    names = names_in("".join(lines))
    chain = read_file(tmp_path / "1abc.pdb").chains[0]
    assert np.isnan(chain.coords[2]).all() and chain.names is None
    assert np.abs(names.points[2, 0] - chains[0].coords[2, 0]).max() < 0.001
