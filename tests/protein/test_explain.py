"""Explanations of a user's own structures, in Python and on the command line."""

import csv

import pytest
import torch

import partoken
from partoken.cli import main
from partoken.protein.catalog import embedded
from partoken.protein.explanation.folder import RESIDUE_COLUMNS
from partoken.protein.explanation.introduction import introduce_importance
from partoken.protein.task import ParTokenTask
from tests.protein.structures import pdb_chain, pdb_text

TRAIN = {"batch_size": 4, "monitor": "val_macro_f1", "monitor_mode": "max"}
FRAMES = {"encoder": "frames", "seq_in": True, "node_h_dim": (16, 1), "num_layers": 1}
SMALL = {**FRAMES, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 16}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    data = embedded(limit=30, min_class_size=20, batch_size=4)
    task = ParTokenTask(train=TRAIN, data=data.settings(), **SMALL)
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "epoch": 0}
    path = tmp_path_factory.mktemp("model") / "best.ckpt"
    torch.save(content, path)
    return path


@pytest.fixture
def folder(tmp_path, chains):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "<script>.pdb").write_text(pdb_chain(chains[0], "A", -2).replace(" A   4 ", " A   3A"))
    (tmp_path / "in" / "two.pdb").write_text(pdb_text(*chains[1:3]))
    (tmp_path / "in" / "broken.pdb").write_bytes(b"ATOM      1  N   AL")
    return tmp_path / "in"


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def explain(checkpoint, *words):
    return main(["predict", str(checkpoint), *map(str, words), "--device", "cpu"])


def test_the_command_writes_tables_structures_and_scripts(checkpoint, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert explain(checkpoint, folder, "--explain", "--out", out) == 0
    rows = rows_of(out / "residues.csv")
    assert tuple(rows[0]) == RESIDUE_COLUMNS
    assert [(row["id"], row["number"], row["insertion_code"]) for row in rows[4:7]] == [
        ("<script>", "2", ""),
        ("<script>", "3", ""),
        ("<script>", "3", "A"),
    ]
    model = partoken.load(checkpoint, device="cpu")
    for prediction, predicted in zip(model.explain(folder), rows_of(out / "predictions.csv"), strict=True):
        own = [row for row in rows if row["id"] == prediction.id]
        values = [float(row["importance"]) for row in own]
        assert values == pytest.approx(prediction.residue_importance, rel=1e-4, abs=1e-9)
        assert sum(values) == pytest.approx(1, abs=1e-4)
        assert [row["number"] + row["insertion_code"] for row in own] == prediction.numbers
        for number, residues in enumerate(prediction.residues, 1):
            assert residues == [i for i, row in enumerate(own) if row["substructure"] == str(number)]
        assert predicted["class"] == prediction.label and (out / predicted["structure"]).is_file()
    assert (out / "structures" / "script.pdb").is_file()
    assert [row["file"] for row in rows_of(out / "predictions.skipped.csv")] == [str(folder / "broken.pdb")]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("residue importance (substitution): ") and "chains were learned, no sites" in said[0]
    assert said[1].startswith("3 chains explained") and "skipped" in said[2]


def test_an_explanation_answers_like_a_prediction_and_a_batch_does_not_matter(checkpoint, folder):
    model = partoken.load(checkpoint, device="cpu")
    together = model.explain(folder)
    for predicted, explained in zip(model.predict(folder), together, strict=True):
        assert predicted.residue_importance == [] and predicted.numbers == explained.numbers
        assert list(predicted.probabilities.values()) == pytest.approx(list(explained.probabilities.values()), abs=1e-5)
        assert predicted.residues == explained.residues
    [alone] = model.explain(str(folder / "<*.pdb"))
    assert alone.residue_importance == pytest.approx(together[0].residue_importance, rel=1e-3, abs=1e-6)


def test_a_method_may_be_chosen(checkpoint, folder, tmp_path):
    assert explain(checkpoint, folder, "--explain", "--importance", "prior", "--out", tmp_path / "out") == 0
    found = [float(row["importance"]) for row in rows_of(tmp_path / "out" / "residues.csv")]
    model = partoken.load(checkpoint, device="cpu")
    expected = [value for chain in model.explain(folder, method="prior") for value in chain.residue_importance]
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "out", "said"),
    [
        (["--explain"], "p.csv", "must be a folder, because --explain writes several files"),
        (["--explain", "--importance", "atention"], "out", "choose substitution, gradient"),
        (["--explain", "--importance", "attention"], "out", "train with model.residue_attention=true"),
        (["--importance", "prior"], "p.csv", "has no effect without --explain"),
        (["--explain", "--month", "3"], "out", "classifies structures, which have no such option"),
    ],
    ids=["a file", "unknown method", "no attention", "without explain", "radar"],
)
def test_a_mistake_of_the_user_gives_one_message_and_no_file(checkpoint, folder, tmp_path, capsys, words, out, said):
    assert explain(checkpoint, folder, *words, "--out", tmp_path / out) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_paths_without_a_chain_give_one_message_and_no_folder(checkpoint, folder, tmp_path, capsys):
    assert explain(checkpoint, folder / "broken.pdb", "--explain", "--out", tmp_path / "out") == 2
    assert "no protein chain could be read" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_pretrained_is_a_name_of_the_weights_that_ship(folder, tmp_path, capsys):
    assert explain("pretrained", folder / "two.pdb", "--explain", "--out", tmp_path / "out") == 0
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == 2
    assert "residue importance (" in capsys.readouterr().out


def test_weights_that_were_measured_say_how_often_the_importance_is_right():
    about = {"chains": 1234, "importance": {"substitution": {"recall": 0.613, "enzymes": 26}}}
    said = introduce_importance(about, [], "substitution")
    assert "the classes of 1,234 chains were learned, no sites" in said
    assert said.endswith("has 0.61 of the catalytic residues of 26 enzymes (by chance 0.10)") and "\n" not in said
    assert introduce_importance(about, [], "gradient").endswith("was not measured for this checkpoint")
    about["importance"]["reading"] = {"recall": 0.5, "enzymes": 26}
    assert introduce_importance(about, [], "reading").endswith("; with --importance substitution it has 0.61")
