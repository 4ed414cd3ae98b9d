"""The folder of an explanation: its tables, structures and scripts, and what happens to a folder that exists."""

import csv

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.explanation.folder import RESIDUE_COLUMNS, ExplainedChain, write_explanations
from partoken.protein.explanation.scripts import SHOWN, chimerax_script, pymol_script
from partoken.protein.sources.reading import read_file
from tests.protein.structures import cif_text, pdb_chain, pdb_text

HEADER = ["id", "file", "class"]


@pytest.fixture
def explained(tmp_path, chains):
    """Two chains of a file and one of another with the same name, with importance 0, 1, 2, ..."""
    (tmp_path / "other").mkdir()
    first, second = tmp_path / "two.cif", tmp_path / "other" / "two_A.pdb"
    first.write_text(cif_text(*chains[:2]))
    second.write_text(pdb_chain(chains[2], "Z", 7))
    return [
        ExplainedChain(
            chain, [chain.id, chain.fields["file"], "x"], list(map(float, range(len(chain)))), numbers_of(chain)
        )
        for path in (first, second)
        for chain in read_file(path, keep_names=True).chains
    ]


def numbers_of(chain):
    """The first ten residues are a substructure, the others belong to none."""
    return [0] * 10 + [-1] * (len(chain) - 10)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_tables_have_a_row_for_each_residue_and_chain(explained, tmp_path):
    out = tmp_path / "deep" / "out"
    assert write_explanations(out, HEADER, explained) == 3
    rows = rows_of(out / "residues.csv")
    assert tuple(rows[0]) == RESIDUE_COLUMNS
    assert len(rows) == sum(len(one.chain) for one in explained)
    last = [row for row in rows if row["chain"] == "Z"]
    assert last[3] == {
        "id": "two_A (2)",
        "chain": "Z",
        "number": "10",
        "insertion_code": "",
        "residue": last[3]["residue"],
        "position": "3",
        "importance": "3",
        "substructure": "1",
    }
    assert last[10]["substructure"] == ""
    predictions = rows_of(out / "predictions.csv")
    assert [row["id"] for row in predictions] == ["two_A", "two_B", "two_A (2)"]
    assert [row["structure"] for row in predictions] == [f"structures/two_{name}.pdb" for name in ("A", "B", "A_2")]


def test_the_most_important_residue_has_the_b_factor_100(explained, tmp_path):
    write_explanations(tmp_path / "out", HEADER, explained)
    text = (tmp_path / "out" / "structures" / "two_B.pdb").read_text()
    values = [float(line[60:66]) for line in text.splitlines() if line.startswith("ATOM") and line[12:16] == " CA "]
    np.testing.assert_allclose(values, 100 * np.arange(len(values)) / (len(values) - 1), atol=0.006)


def test_scripts_open_the_structures_and_have_no_other_words_of_the_user(explained, tmp_path):
    write_explanations(tmp_path / "out", HEADER, explained)
    for script, command in (("importance.pml", "load"), ("importance.cxc", "open")):
        lines = (tmp_path / "out" / script).read_text().splitlines()
        opened = [line.split()[1] for line in lines if line.startswith(command)]
        assert [(tmp_path / "out" / file).is_file() for file in opened] == [True] * 3


@pytest.mark.parametrize("script", [pymol_script, chimerax_script])
def test_a_script_opens_a_limited_number_of_structures(script):
    text = script([f"structures/{i}.pdb" for i in range(SHOWN + 7)])
    opening = [line for line in text.splitlines() if "structures/" in line]
    assert sum(not line.startswith("#") for line in opening) == SHOWN and len(opening) == SHOWN + 7


def test_other_files_of_a_folder_stay_and_nothing_else_is_left(explained, tmp_path):
    out = tmp_path / "out"
    write_explanations(out, HEADER, explained[:1])
    (out / "notes.txt").write_text("mine")
    write_explanations(out, HEADER, explained)
    names = {path.name for path in out.iterdir()}
    assert names == {"notes.txt", "structures", "residues.csv", "predictions.csv", "importance.pml", "importance.cxc"}
    assert not list(tmp_path.rglob("*.partial"))


def test_an_error_on_the_way_leaves_nothing(explained, tmp_path):
    def broken():
        yield explained[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_explanations(tmp_path / "out", HEADER, broken())
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("*.partial"))
    assert write_explanations(tmp_path / "out", HEADER, []) == 0
    assert not (tmp_path / "out").exists()


def test_a_structure_that_was_read_is_not_replaced(tmp_path, chains):
    source = tmp_path / "out" / "structures" / "x.pdb"
    source.parent.mkdir(parents=True)
    source.write_text(pdb_text(chains[0]))
    [chain] = read_file(source, keep_names=True).chains
    one = ExplainedChain(chain, ["x", str(source), "y"], [1.0] * len(chain), numbers_of(chain))
    with pytest.raises(UserError, match=r"would replace .*x\.pdb; choose another folder"):
        write_explanations(tmp_path / "out", HEADER, [one])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["structures"]
