"""What lines of a PDB file say: names, segments, models, numbers."""

import numpy as np
import pytest

from partoken.protein.sources.reading import read_file
from tests.protein.structures import THREE, atom_line, pdb_chain


@pytest.fixture
def read(tmp_path):
    def read(text: str | bytes):
        path = tmp_path / "1abc.pdb"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_file(path)

    return read


def with_columns(text: str, start: int, new: str) -> str:
    """Writes `new` into the atom lines of a text, from column `start` on (counted from 1)."""
    lines = (line.ljust(80) if line.startswith(("ATOM", "HETATM")) else line for line in text.splitlines())
    begin, end = start - 1, start - 1 + len(new)
    return "".join(
        (line[:begin] + new + line[end:] if line.startswith(("ATOM", "HETATM")) else line) + "\n" for line in lines
    )


def renamed(text: str, names: dict[str, str]) -> str:
    """Gives residues other names of up to four letters, in columns 18 to 21."""
    lines = []
    for line in text.splitlines(keepends=True):
        new = names.get(line[17:20]) if line.startswith("ATOM") else None
        lines.append(line if new is None else f"{line[:17]}{new:<4}{line[21:]}")
    return "".join(lines)


@pytest.mark.parametrize(
    "names",
    [
        {"LYS": "LYSH", "HIS": "HISA", "CYS": "CYSH"},
        {"LYS": "LYSH", "ASP": "ASPH", "ARG": "ARGN"},
        {"ALA": "NALA", "GLU": "CGLU", "HIS": "HSDX"},
        {"SER": "SERX", "THR": "THRQ"},
    ],
    ids=["gromos", "opls", "terminal", "unknown"],
)
@pytest.mark.parametrize("chain", ["A", " "])
def test_residue_names_of_four_letters_are_read_whole(read, chains, names, chain):
    for one in chains[:6]:
        content = read(renamed(pdb_chain(one, chain), names))
        assert [c.letters for c in content.chains] == [one.letters] and not content.skipped
        assert content.chains[0].fields["chain"] == chain.strip()


def test_chain_names_of_two_letters_are_no_part_of_residue_names(read, chains):
    text = pdb_chain(chains[0], "A") + with_columns(pdb_chain(chains[1], "A"), 21, "H")
    content = read(text + with_columns(pdb_chain(chains[2], "A", start=len(chains[0]) + 1), 21, "A"))
    assert [c.id for c in content.chains] == ["1abc_A", "1abc_HA", "1abc_AA"]
    assert [c.letters for c in content.chains] == [c.letters for c in chains[:3]]


def test_segments_tell_two_molecules_of_one_chain_apart(read, chains):
    first, second = chains[0], chains[1]
    for start in (1, len(first), len(first) + 1, 500):
        one = with_columns(pdb_chain(first), 73, "P1  ").replace("TER\n", "")
        two = with_columns(pdb_chain(second, start=start), 73, "P2  ").replace("TER\n", "")
        content = read(one + two)
        assert [c.letters for c in content.chains] == [first.letters, second.letters]
        assert [c.id for c in content.chains] == ["1abc_A", "1abc_A.2"]


def test_a_segment_that_goes_on_with_a_bond_is_one_molecule(read, chains):
    lines = with_columns(pdb_chain(chains[0]), 73, "P1  ").splitlines(keepends=True)
    other = with_columns("".join(lines[40:]), 73, "P2  ")
    assert [c.letters for c in read("".join(lines[:40]) + other).chains] == [chains[0].letters]


def test_charges_in_the_columns_of_segments_divide_nothing(read, chains):
    lines = pdb_chain(chains[0]).splitlines()
    text = "".join(line.ljust(80)[:70] + f"{i % 97 / 100:6.3f}" + "\n" for i, line in enumerate(lines[:-1]))
    assert [c.letters for c in read(text).chains] == [chains[0].letters]


def test_molecules_of_one_chain_that_meet_at_one_number_are_told_apart_without_segments(read, chains):
    first, second = chains[0], chains[1]
    text = pdb_chain(first) + pdb_chain(second, start=len(first))
    for two in (text, text.replace("TER\n", "")):
        assert [c.letters for c in read(two).chains] == [first.letters, second.letters]


def test_ter_and_a_gap_in_the_numbers_divide_a_chain(read, chains):
    content = read(pdb_chain(chains[0]) + pdb_chain(chains[1], start=len(chains[0]) + 20))
    assert [c.letters for c in content.chains] == [chains[0].letters, chains[1].letters]


def test_a_longer_second_molecule_without_a_mark_starts_where_the_numbers_go_back(read, chains):
    text = pdb_chain(chains[0], start=10) + pdb_chain(chains[1], start=1)
    assert [c.letters for c in read(text.replace("TER\n", "")).chains] == [chains[0].letters, chains[1].letters]


def test_a_gap_in_the_numbers_without_ter_divides_nothing(read, chains):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    chain = read("".join([*lines[:40], *lines[60:]])).chains[0]
    assert chain.letters == chains[0].letters[:10] + chains[0].letters[15:]


def test_residues_whose_atoms_lie_in_two_places_of_the_file_are_whole(read, chains):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)[:-1]
    by_atom = [line for place in range(4) for line in lines[place::4]]
    chain = read("".join(by_atom)).chains[0]
    np.testing.assert_allclose(chain.coords, chains[0].coords, atol=6e-4)
    assert chain.letters == chains[0].letters


@pytest.mark.parametrize("separator", ["END\n", "ENDMDL\n", "END   \nREMARK next\n", "ENDMDL\nMODEL 2\n", "MODEL 2\n"])
def test_every_way_to_separate_frames_is_counted(read, chains, separator):
    frame = pdb_chain(chains[0])
    content = read(frame + separator + frame + separator + frame + "END\n")
    assert [c.letters for c in content.chains] == [chains[0].letters]
    assert content.notes["further models"] == 2
    assert "further models" not in read(frame + "END\n").notes


@pytest.mark.parametrize("word", ["nan", "inf", "********"])
def test_coordinates_that_are_no_numbers_leave_a_note_and_no_gap(read, chains, word):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    lines[20:24] = [line[:30] + word.rjust(8) * 3 + line[54:] for line in lines[20:24]]
    content = read("".join(lines))
    assert content.chains[0].letters == chains[0].letters and np.isnan(content.chains[0].coords[5]).all()
    assert content.notes["backbone atoms without readable coordinates"] == 4


@pytest.mark.parametrize("ending", ["\r\n", "\r"])
def test_a_byte_order_mark_and_other_line_ends_cost_nothing(read, chains, ending):
    text = pdb_chain(chains[0])
    chain = read(b"\xef\xbb\xbf" + text.replace("\n", ending).encode()).chains[0]
    assert np.isfinite(chain.coords).all() and chain.letters == chains[0].letters


def test_an_atom_line_without_a_residue_number_is_a_reason(read, chains):
    text = pdb_chain(chains[0]).replace(" A   3 ", " A     ", 1)
    assert "without a residue number" in read(text).skipped[0].reason


def test_numbers_beyond_9999_are_read_in_hybrid_36_and_where_they_start_again(read, chains):
    one = chains[0]

    def lines(number_of):
        return "".join(
            atom_line(name, THREE[letter], 1, point).replace("A   1", f"A{number_of(place)}")
            for place, (points, letter) in enumerate(zip(one.coords, one.letters, strict=True))
            for name, point in zip(("N", "CA", "C", "O"), points, strict=True)
        )

    first = 9990
    for number_of in (
        lambda place: f"{first + place}" if first + place < 10000 else f"A{first + place - 10000:03d}",
        lambda place: f"{(first + place) % 10000:4d}",
    ):
        assert [c.letters for c in read(lines(number_of)).chains] == [one.letters]
