"""Tables of known residues: author numbers, positions, letters, and what is refused."""

from importlib import resources

import pytest

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.explanation_checks.sites import read_sites
from partoken.protein.sources.arrays import read_arrays


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "sites.csv"
        path.write_text(text)
        return path

    return write


def test_author_numbers_find_residues_with_their_insertion_codes(table):
    sites = read_sites(table("id,residues\n1abc_A,-3 52 52A\n"))
    assert sites["1abc_A"].find("ACDEF", ["-3", "51", "52", "52A", "53"]) == (0, 2, 3)


def test_positions_count_from_zero(table):
    sites = read_sites(table("id,positions,letters\n1abc_A,4 0 2,FAD\n"))
    assert sites["1abc_A"].find("ACDEF", ["7", "8", "9", "10", "11"]) == (0, 2, 4)


def test_a_chain_without_author_numbers_counts_from_one(table):
    assert read_sites(table("id;residues\nx;1, 003\n"))["x"].find("ACD") == (0, 2)


def test_the_sites_that_ship_are_residues_of_the_chains_that_ship(tmp_path, monkeypatch):
    path = resources.files("partoken.protein.embedded") / "chains.npz"
    items = read_arrays(str(path), with_table=False)
    chains = {chain.id: chain.letters for chain in items if isinstance(chain, Backbone)}
    sites = read_sites("embedded")
    found = [sites[name].find(chains[name]) for name in sites]
    assert len(found) == 26 and sum(map(len, found)) == 145
    monkeypatch.chdir(tmp_path)
    (tmp_path / "embedded").write_text("id,positions\nmine,0\n")
    assert list(read_sites("embedded")) == ["mine"], "a file of this name comes first"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,numbers\nx,1\n", "columns are id, numbers; needed are id and either residues"),
        ("id,residues,positions\nx,1,0\n", "either residues"),
        ("id,residues\nx,\n", "residues of x is ''; expected numbers such as 42 96 112A"),
        ("id,positions\nx,12A\n", "positions of x is '12A'; expected numbers such as 0 41 95"),
        ("id,residues\nx,1\nx,2\n", "x has two rows"),
        ("id,residues,letters\nx,1 2,A\n", "2 residues and 1 letters"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(table, text, message):
    with pytest.raises(UserError, match=message):
        read_sites(table(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,residues\nx,9\n", "author number 9 is not in the chain, which has 3 residues"),
        ("id,positions\nx,3\n", "position 3 is not in the chain"),
        ("id,residues\nx,2\n", "author number 2 occurs more than once"),
        ("id,residues,letters\nx,1,C\n", "residue 1 is C in the table and A in the chain"),
    ],
)
def test_residues_that_a_chain_does_not_have_are_refused(table, text, message):
    with pytest.raises(UserError, match=message):
        read_sites(table(text))["x"].find("ACD", ["1", "2", "2"])
