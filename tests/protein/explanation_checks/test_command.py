"""`partoken explain`: its tables, what it says of sites, and what it refuses."""

import csv
import json

import numpy as np
import pytest

from partoken.cli import main
from partoken.protein.catalog import embedded
from partoken.protein.run_chains import open_run
from partoken.system.tables import read_table
from tests.protein.runs import write_run
from tests.protein.structures import pdb_text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", "data.limit=24")


@pytest.fixture(scope="module")
def ids(run):
    """A training chain, a test chain, and a chain that the run does not use."""
    opened = open_run(run)
    used = {name for split in opened.splits for name in opened.ids(split)}
    unused = next(name for name in embedded().collection.store.ids if name not in used)
    return opened.ids("train")[0], opened.ids("test")[0], unused


@pytest.fixture
def sites(tmp_path):
    def write(column, rows):
        path = tmp_path / "sites.csv"
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([["id", column], *rows.items()])
        return path

    return write


def tables_of(folder):
    return {table["title"]: table for table in json.loads((folder / "explain.json").read_text())["checks"]}


def rows_of(table):
    return {row[0]: dict(zip(table["columns"][1:], row[1:], strict=True)) for row in table["rows"]}


def test_a_run_gets_all_tables_in_its_folder(run, ids, sites, capsys):
    table = sites("positions", {name: "3 8" for name in (*ids, "nowhere_A")})
    assert main(["explain", str(run), "--sites", str(table)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("known sites: 0.")
    assert "scored on 3 chains (1 in training, 1 test, 1 not used by the run) of the 4 chains" in said
    assert "not scored: the known sites of 1 of the 4 chains" in said and "nowhere_A" in said

    tables = tables_of(run / "explain")
    assert {title.partition(":")[0] for title in tables} == {
        "Known sites",
        "Deletion and sufficiency",
        "Stability",
        "Codebook",
    }
    residues = rows_of(tables["Known sites: residues, all chains"])
    assert residues["importance, default method"]["chains"] == residues["prior"]["chains"] == 3
    assert residues["random"]["in the top tenth"].startswith("0.1")
    others = rows_of(tables["Known sites: residues, not in training"])
    assert others["importance, default method"]["chains"] == 2
    assert "random of the same sizes" in rows_of(tables["Known sites: substructures, all chains"])
    assert rows_of(tables["Stability"])["rotation"]["same class"] == "1.000 +- 0.000"

    chains = {row["id"]: row for row in read_table(run / "explain" / "explain.csv")}
    assert [chains[name]["split"] for name in ids] == ["train", "test", "unused"]
    assert chains[ids[1]]["truth"] and chains[ids[1]]["substructure_fall"]
    assert sum(row["split"] == "test" for row in chains.values()) == len(open_run(run).ids("test"))


def test_importance_that_is_the_prior_finds_the_sites_that_the_prior_finds(run, ids, sites, tmp_path, monkeypatch):
    monkeypatch.setattr("partoken.protein.model.importance.default_method", lambda network: "prior")
    table = sites("positions", {name: "3 8 20" for name in ids})
    assert main(["explain", str(run), "--sites", str(table), "--out", str(tmp_path / "out")]) == 0
    residues = rows_of(tables_of(tmp_path / "out")["Known sites: residues, all chains"])
    assert residues["importance, default method"] == residues["prior"]


def test_a_second_run_is_averaged_and_compared_with_the_first(run, tmp_path):
    other = write_run(tmp_path / "other", "data.limit=24", seed=1)
    assert main(["explain", str(run), str(other), "--out", str(tmp_path / "out")]) == 0
    tables = tables_of(tmp_path / "out")
    assert "Mean of 2 runs" in tables["Deletion and sufficiency"]["text"]
    assert "another run" in rows_of(tables["Stability"])
    assert len(tables["Codebook"]["rows"]) == 2


def test_structures_of_the_user_are_checked_by_author_number(run, chains, sites, tmp_path, capsys):
    (tmp_path / "mine.pdb").write_text(pdb_text(chains[0]))
    command = ["explain", str(run), "--structures", str(tmp_path / "mine.pdb"), "--out", str(tmp_path / "out")]
    assert main([*command, "--sites", str(sites("residues", {"mine": "2 5"}))]) == 0
    assert "scored on 1 chains (1 given)" in capsys.readouterr().out
    assert main([*command, "--sites", str(sites("residues", {"mine": "2 999"}))]) == 2
    assert "author number 999 is not in the chain" in capsys.readouterr().err


def test_a_synthetic_run_says_how_often_it_finds_the_motif(tmp_path):
    options = ("data=synthetic", "data.num_chains=30", f"data.cache_dir={tmp_path}", "data.limit=null")
    run = write_run(tmp_path / "run", *options)
    assert main(["explain", str(run)]) == 0
    motif = rows_of(tables_of(run / "explain")["Planted motif"])
    assert set(next(iter(motif.values()))) == {"chains", "hit rate", "IoU", "precision", "recall"}


def test_a_network_without_substructures_has_its_residues_checked(tmp_path):
    run = write_run(tmp_path / "run", "data.limit=24", partition="none", classify_from="both")
    assert main(["explain", str(run)]) == 0
    tables = tables_of(run / "explain")
    assert set(tables) == {"Deletion and sufficiency", "Stability"}
    assert list(rows_of(tables["Deletion and sufficiency"])) == ["tenth of the residues that ranks highest"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such run folder or checkpoint"),
        (["RUN", "--sites", "nowhere.csv"], "nowhere.csv: no such file"),
        (["RUN", "--out", "FILE"], "is a file, and explain writes two files"),
        (["pretrained", "--structures", "FILE"], "name a folder with --out DIR"),
        (["pretrained"], "lies in no run folder"),
    ],
)
def test_what_cannot_be_checked_is_one_message(run, chains, tmp_path, arguments, message, capsys):
    file = tmp_path / "mine.pdb"
    file.write_text(pdb_text(chains[0]))
    names = {"RUN": str(run), "FILE": str(file)}
    assert main(["explain", *(names.get(word, word) for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_author_numbers_are_refused_where_chains_have_none(run, ids, sites, capsys):
    assert main(["explain", str(run), "--sites", str(sites("residues", {ids[1]: "3"}))]) == 2
    assert "has author numbers, but the chain" in capsys.readouterr().err


def test_deletion_of_what_decides_falls_more_than_random_deletion(run, monkeypatch):
    """A network that counts one residue: its probability falls if that residue is deleted."""
    from partoken.protein.explanation_checks import deletion_scores
    from partoken.protein.explanation_checks.explained import explain_chains

    opened = open_run(run)
    [chain] = explain_chains(opened.predictor, opened.read("test")[:1], ["test"])
    decisive = int(np.argmax(chain.prediction.residue_importance))
    predicted = chain.prediction.answers[""].label

    def answers(predictor, backbone, deleted):
        return [{"": {predicted: 0.1 if decisive in part else 0.9, "other": 0.0}} for part in deleted]

    monkeypatch.setattr(deletion_scores, "answers_without", answers)
    scores = deletion_scores.score_deletion(opened.predictor, chain, np.random.default_rng(1))
    found = scores[deletion_scores.PART][""]
    assert found["fall"] == pytest.approx(found["probability"] - 0.1)
    assert found["alone"] == 0.9
    assert found["random fall"] < found["fall"]
