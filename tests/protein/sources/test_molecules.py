"""Which residues of a file belong to a protein chain."""

import numpy as np
import pytest

from partoken.protein.sources.reading import read_file
from tests.protein.structures import THREE, atom_line, pdb_chain

BACKBONE = ("N", "CA", "C", "O")
D_NAMES = dict(
    zip(
        "ACDEFGHIKLMNPQRSTVWY",
        "DAL DCY DAS DGL DPN GLY DHI DIL DLY DLE MED DSG DPR DGN DAR DSN DTH DVA DTR DTY".split(),
        strict=True,
    )
)


@pytest.fixture
def read(tmp_path):
    def read(text: str):
        path = tmp_path / "1abc.pdb"
        path.write_text(text)
        return read_file(path)

    return read


def others(name: str, atoms: str, count: int, *, record: str = "ATOM", start: int = 500) -> str:
    """Returns the lines of molecules that stand far apart."""
    return "".join(
        atom_line(atom, name, start + i, (60 + 4 * i, 60 + j, 60), record=record)
        for i in range(count)
        for j, atom in enumerate(atoms.split())
    )


def hetero_chain(one, names=THREE, chain="A", start=1) -> str:
    return "".join(
        atom_line(atom, names[letter], number, point, chain=chain, record="HETATM")
        for number, (points, letter) in enumerate(zip(one.coords, one.letters, strict=True), start)
        for atom, point in zip(BACKBONE, points, strict=True)
    )


@pytest.mark.parametrize(
    "name, atoms",
    [
        ("SOL", "OW"), ("HOH", "O"), ("SPC", "O"), ("TP3", "OH2"), ("WAT", "O"), ("POP", "N C P O"), ("CHL", "C O"),
        ("CAL", "CA"), ("NA", "NA"), ("LIG", "C CA O"), ("ZZZ", "N CA C"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("record", ["ATOM", "HETATM"])
def test_other_molecules_in_the_chain_of_a_protein_leave_it_alone(read, chains, name, atoms, record):
    count = 3 * len(chains[0])
    protein, rest = pdb_chain(chains[0]).replace("TER\n", ""), others(name, atoms, count, record=record)
    for text in (protein + rest, rest + protein):
        content = read(text)
        assert [c.letters for c in content.chains] == [chains[0].letters] and not content.skipped
        assert content.notes["amino acids outside of chains"] == (count if atoms == "N CA C" else 0)


def test_waters_whose_numbers_start_again_in_the_chain_leave_it_alone(read, chains):
    text = pdb_chain(chains[0], " ").replace("TER\n", "") + others("HOH", "O", 40, start=1).replace(" A ", "   ")
    assert [c.letters for c in read(text).chains] == [chains[0].letters]


@pytest.mark.parametrize("names", [D_NAMES, THREE], ids=["mirrored", "standard"])
def test_a_chain_of_hetero_records_is_read(read, chains, names):
    content = read(hetero_chain(chains[0], names) + pdb_chain(chains[1], "B"))
    assert [c.letters for c in content.chains] == [chains[0].letters, chains[1].letters]


def test_a_single_residue_between_gaps_of_a_hetero_chain_is_kept(read, chains):
    lines = hetero_chain(chains[0], D_NAMES).splitlines(keepends=True)
    text = "".join([*lines[:40], *lines[60:64], *lines[84:]])
    letters = chains[0].letters
    assert [c.letters for c in read(text).chains] == [letters[:10] + letters[15] + letters[21:]]


def test_a_chain_of_unknown_residues_is_read(read, chains):
    content = read(hetero_chain(chains[0], dict.fromkeys(THREE, "0QE")))
    assert content.chains[0].letters == "X" * len(chains[0])


@pytest.mark.parametrize("ter", ["", "TER\n"])
@pytest.mark.parametrize("start", [1, 400])
def test_free_amino_acids_are_no_chain_and_no_part_of_one(read, chains, ter, start):
    free = others("GLU", "N CA C O", 12, record="HETATM", start=start)
    protein = pdb_chain(chains[0]).replace("TER\n", ter)
    for text in (protein + free, protein + free.replace(" A ", " B "), protein + free + ter):
        content = read(text)
        assert [(c.id, c.letters) for c in content.chains] == [("1abc", chains[0].letters)] and not content.skipped
        assert content.notes["amino acids outside of chains"] == 12


def test_a_short_peptide_is_skipped_with_the_reason(read, chains):
    peptide = "".join(hetero_chain(chains[1], chain="B").splitlines(keepends=True)[: 4 * 4])
    content = read(pdb_chain(chains[0]) + peptide)
    assert [c.letters for c in content.chains] == [chains[0].letters]
    assert [(s.id, "too short: 4 of 4" in s.reason) for s in content.skipped] == [("1abc_B", True)]


def test_a_modified_residue_is_kept_wherever_it_stands_in_its_chain(read, chains):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    last = len(chains[0]) - 1
    for place in (0, 7, last):
        text = list(lines)
        here = slice(4 * place, 4 * place + 4)
        text[here] = ["HETATM" + line[6:17] + "MSE" + line[20:] for line in lines[here]]
        expected = chains[0].letters[:place] + "M" + chains[0].letters[place + 1 :]
        assert [c.letters for c in read("".join(text)).chains] == [expected]
    del text[4 * (last - 3) : 4 * last]  # the residues before the last one are missing
    assert read("".join(text)).chains[0].letters == chains[0].letters[: last - 3] + "M"


def test_a_file_without_a_protein_is_skipped_with_the_reason(read):
    text = others("DA", "P C N9", 30) + others("HOH", "O", 30, record="HETATM")
    assert [s.reason for s in read(text).skipped] == ["no protein chain with backbone atoms"]
    assert [s.reason for s in read(others("HOH", "OW", 3)).skipped] == ["no protein chain with backbone atoms"]


def test_a_residue_that_occurs_twice_at_one_place_counts_once(read, chains):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    content = read("".join([*lines[:24], *lines[20:24], *lines[24:]]))
    assert [c.letters for c in content.chains] == [chains[0].letters]
    assert content.notes["residues that occur twice"] == 1
    np.testing.assert_allclose(content.chains[0].coords, chains[0].coords, atol=6e-4)
