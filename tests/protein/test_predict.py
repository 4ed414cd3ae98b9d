"""Predictions for structure files from a checkpoint, in Python and on the command line."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import partoken
from partoken.cli import main
from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.chains.backbone import Backbone
from partoken.protein.predict import Predictor
from partoken.protein.task import ParTokenTask
from tests.protein.structures import cif_text, pdb_text

TRAIN = {"batch_size": 4, "monitor": "val_macro_f1", "monitor_mode": "max"}
SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 16}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    data = embedded(limit=30, min_class_size=20, batch_size=4)
    task = ParTokenTask(train=TRAIN, data=data.settings(), **SMALL)
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "epoch": 0}
    path = tmp_path_factory.mktemp("model") / "best.ckpt"
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def chains():
    return embedded(limit=30).dataset("test").store.read(range(3))


@pytest.fixture
def folder(tmp_path, chains):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.pdb").write_text(pdb_text(chains[0]))
    (tmp_path / "in" / "two.cif").write_text(cif_text(chains[1], chains[2]))
    (tmp_path / "in" / "broken.pdb").write_bytes(b"ATOM      1  N   AL")
    return tmp_path / "in"


def test_a_loaded_model_classifies_every_chain_of_a_folder(checkpoint, folder):
    model = partoken.load(checkpoint, device="cpu")
    predictions = model.predict(folder)
    assert [p.id for p in predictions] == ["one", "two_A", "two_B"]
    assert len(model.skipped) == 1
    for p in predictions:
        assert p.label in model.class_names
        assert sum(p.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert p.confidence == p.probabilities[p.label]
        assert sum(p.importance) == pytest.approx(1, abs=1e-5)
        assert len(p.tokens) == len(p.importance) == len(p.residues)
        assigned = [residue for substructure in p.residues for residue in substructure]
        assert len(assigned) == len(set(assigned)), "a residue belongs to one substructure at most"


def test_structures_are_read_with_the_limits_of_the_training_data(chains, folder, tmp_path):
    data = embedded(limit=30, min_class_size=20, batch_size=4).settings()
    shortest = min(map(len, chains))
    data["source"]["reading"]["max_length"] = shortest
    task = ParTokenTask(train=TRAIN, data=data, **SMALL)
    path = tmp_path / "limited.ckpt"
    torch.save({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "epoch": 0}, path)
    model = partoken.load(path, device="cpu")
    assert len(model.predict(folder)) == sum(len(chain) == shortest for chain in chains)
    assert sum("residues" in s.reason for s in model.skipped) == sum(len(chain) > shortest for chain in chains)


def test_what_was_cleaned_and_a_sequence_that_carries_nothing_are_said(checkpoint, chains, tmp_path, capsys):
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"]["data"]["source"]["reading"]["min_plddt"] = 70.0
    torch.save(content, tmp_path / "confident.ckpt")
    glycines = Backbone("design", chains[0].coords, np.full(len(chains[0]), 5, np.uint8))
    atoms = pdb_text(glycines).splitlines(keepends=True)[: 4 * len(glycines)]
    confidence = [90.0] * (len(atoms) - 4) + [20.0] * 4
    lines = [f"{atom[:60]}{value:6.2f}{atom[66:]}" for atom, value in zip(atoms, confidence, strict=True)]
    (tmp_path / "design.pdb").write_text("".join(lines))
    arguments = [str(tmp_path / "design.pdb"), "--out", str(tmp_path / "p.csv"), "--device", "cpu"]
    assert main(["predict", str(tmp_path / "confident.ckpt"), *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "cleaned: files with a confidence of 0 to 100 for each residue 1, residues below min_plddt=70 1, "
        "residues with missing backbone atoms 1",
        "the sequence carries nothing in 1 chains, whose residues are nearly all of one type: design",
    ]
    model = partoken.load(checkpoint, device="cpu")
    model.predict(tmp_path / "design.pdb")
    assert not model.notes and model.one_type == ["design"]


def test_a_chain_has_the_same_answer_alone_and_among_others(checkpoint, folder):
    model = partoken.load(checkpoint, device="cpu")
    together = model.predict(folder)[1]
    alone = next(p for p in model.predict(str(folder / "two*")) if p.id == "two_A")
    assert alone.tokens == together.tokens
    np.testing.assert_allclose(list(alone.probabilities.values()), list(together.probabilities.values()), atol=1e-5)


def test_a_prediction_has_the_weight_of_each_residue_if_labels_read_residues_by_attention(checkpoint, chains, tmp_path):
    data = embedded(limit=30, min_class_size=20, batch_size=4)
    task = ParTokenTask(train=TRAIN, data=data.settings(), residue_attention=True, **SMALL)
    path = tmp_path / "attention.ckpt"
    torch.save({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "epoch": 0}, path)
    for chain, prediction in zip(chains, partoken.load(path, device="cpu").classify(chains), strict=True):
        assert len(prediction.attention[""]) == len(chain)
        assert sum(prediction.attention[""]) == pytest.approx(1, abs=1e-5)
    assert partoken.load(checkpoint, device="cpu").classify(chains)[0].attention == {}


def test_the_command_writes_one_row_per_chain_and_lists_skipped_files(checkpoint, folder, tmp_path, capsys):
    out = tmp_path / "p.csv"
    assert main(["predict", str(checkpoint), str(folder), "--out", str(out)]) == 0
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["id"] for r in rows] == ["one", "two_A", "two_B"]
    names = partoken.load(checkpoint, device="cpu").class_names
    columns = [f"p_{name}" for name in names]
    parts = ["from_substructures", "from_whole_chain"]
    assert list(rows[0]) == ["id", "file", "class", "confidence", *columns, "tokens", "importance", "residues", *parts]
    assert sum(float(rows[0][part]) for part in parts) == pytest.approx(1, abs=2e-3)
    assert all(r["class"] in names for r in rows)
    assert len(rows[0]["tokens"].split()) == len(rows[0]["residues"].split())
    with open(tmp_path / "p.skipped.csv", newline="") as file:
        assert [r["file"] for r in csv.DictReader(file)] == [str(folder / "broken.pdb")]
    assert "3 chains classified" in capsys.readouterr().out


def test_a_file_name_that_is_not_utf_8_loses_no_prediction(checkpoint, folder, tmp_path, capsys):
    byte = os.fsdecode(b"\xe9")
    (folder / f"broken{byte}.pdb").write_text("nothing")
    (folder / f"good{byte}.pdb").write_text((folder / "one.pdb").read_text())
    folder = folder.rename(tmp_path / f"in{byte}")
    out = tmp_path / f"p{byte}.csv"
    assert main(["predict", str(checkpoint), str(folder), "--out", str(out)]) == 0
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shown = f"{tmp_path}/in\\xe9"
    assert [(r["id"], r["file"]) for r in rows[:2]] == [
        (r"good\xe9", rf"{shown}/good\xe9.pdb"),
        ("one", f"{shown}/one.pdb"),
    ]
    assert len(rows) == 4
    with open(tmp_path / f"p{byte}.skipped.csv", newline="", encoding="utf-8") as file:
        assert [r["file"] for r in csv.DictReader(file)] == [f"{shown}/broken.pdb", rf"{shown}/broken\xe9.pdb"]
    assert "4 chains classified" in capsys.readouterr().out


def test_a_pipe_is_skipped_and_a_large_file_too_and_the_limit_is_an_option(checkpoint, folder, tmp_path):
    os.mkfifo(folder / "pipe.pdb")
    (folder / "list.json").write_text("{}")
    (folder / "one.pdb").write_text("REMARK\n" * 100_000 + (folder / "one.pdb").read_text())
    model = Predictor(checkpoint, device="cpu", max_file_mb=0.5)
    assert [p.id for p in model.predict(folder)] == ["two_A", "two_B"]
    reasons = {os.path.basename(s.file): s.reason for s in model.skipped}
    assert reasons["pipe.pdb"] == "cannot be opened: not a regular file"
    assert reasons["one.pdb"].startswith("larger than data.max_file_mb=0.5 ")
    assert reasons["in"] == "files that are not read: 1 .json"
    out = tmp_path / "p.csv"
    assert main(["predict", str(checkpoint), str(folder), "--out", str(out), "--max-file-mb", "0.5"]) == 0
    assert main(["predict", str(checkpoint), str(folder), "--out", str(out), "--max-file-mb", "-1"]) == 2


@pytest.mark.parametrize(
    ("checkpoint_name", "path", "out", "device", "words"),
    [
        ("nowhere.ckpt", "in", "p.csv", "cpu", "nowhere.ckpt"),
        ("in/one.pdb", "in", "p.csv", "cpu", "one.pdb"),
        (None, "in/broken.pdb", "p.csv", "cpu", "no protein chain could be read"),
        (None, "in/nothing*.pdb", "p.csv", "cpu", "no file matches"),
        (None, "in", "nowhere/p.csv", "cpu", "nowhere"),
        (None, "in", "p.csv", "gpu", "device=gpu: no such device; choose cpu or cuda"),
    ],
    ids=["no checkpoint", "not a checkpoint", "broken file", "empty glob", "no folder", "no device"],
)
def test_a_mistake_of_the_user_gives_one_message_and_no_file(
    checkpoint, folder, tmp_path, capsys, checkpoint_name, path, out, device, words
):
    model = checkpoint if checkpoint_name is None else tmp_path / checkpoint_name
    arguments = ["predict", str(model), str(tmp_path / path), "--out", str(tmp_path / out), "--device", device]
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*p.csv*"))


def test_a_checkpoint_of_another_model_is_rejected(tmp_path):
    torch.save({"state_dict": {}, "hyper_parameters": {"depth": 3}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="contains no ParToken"):
        partoken.load(tmp_path / "x.ckpt")


def test_importing_the_command_imports_no_torch():
    code = "import sys, partoken, partoken.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_prediction_imports_no_lightning(checkpoint, folder, tmp_path):
    arguments = ["predict", str(checkpoint), str(folder), "--out", str(tmp_path / "p.csv"), "--device", "cpu"]
    code = (
        "import sys; from partoken.cli import main; "
        f"status = main({arguments!r}); "
        "sys.exit(status or any(name in sys.modules for name in ('pytorch_lightning', 'lightning', 'torchmetrics')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A checkpoint that answers whether a chain is an enzyme, and the levels of CATH, of which it may have several."""
    torch.manual_seed(0)
    labels = {"enzyme": None, "fold": {"column": "cath", "depth": 1, "multi_label": True}}
    data = embedded(limit=60, min_class_size=20, batch_size=4, label_columns=labels)
    task = ParTokenTask(train=TRAIN, data=data.settings(), **SMALL)
    path = tmp_path_factory.mktemp("model") / "best.ckpt"
    torch.save({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "epoch": 0}, path)
    return path


def test_every_label_has_its_own_answer(several, folder):
    model = partoken.load(several, device="cpu")
    chain = model.predict(folder)[0]
    assert list(chain.answers) == list(model.labels) == ["enzyme", "fold"]
    enzyme, fold = chain.answers.values()
    assert enzyme.label in ("no enzyme", "enzyme") and enzyme.confidence == enzyme.probabilities[enzyme.label]
    assert sum(enzyme.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert fold.label == ";".join(name for name, p in fold.probabilities.items() if p >= 0.5)
    assert tuple(fold.probabilities) == model.labels["fold"].class_names
    for attribute in ("label", "probabilities", "confidence"):
        with pytest.raises(UserError, match=r"several labels \(enzyme, fold\): use \.answers\['enzyme'\]"):
            getattr(chain, attribute)
    with pytest.raises(UserError, match=r"use \.labels\['enzyme'\]"):
        _ = model.class_names


def test_the_table_has_columns_for_every_label(several, folder, tmp_path):
    model = partoken.load(several, device="cpu")
    model.write([folder], tmp_path / "p.csv")
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("id", "file", "class_enzyme", "confidence_enzyme", "p_enzyme_no enzyme", "p_enzyme_enzyme"),
        *("class_fold", "confidence_fold", *(f"p_fold_{name}" for name in model.labels["fold"].class_names)),
        *("tokens", "importance", "residues"),
        *(f"from_{part}_{label}" for label in ("enzyme", "fold") for part in ("substructures", "whole_chain")),
    ]
    answers = model.predict(folder)[0].answers
    assert rows[0]["class_enzyme"] == answers["enzyme"].label
    assert float(rows[0]["confidence_fold"]) == pytest.approx(answers["fold"].confidence, abs=1e-5)
