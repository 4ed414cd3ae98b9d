"""The weights that ship: what they may know, what the file holds, and predictions with them by name."""

import csv
import importlib.util
from pathlib import Path

import pytest
import torch

import partoken
from partoken.cli import main
from partoken.protein.catalog import embedded
from partoken.protein.chains.batch import collate
from partoken.protein.model.labels import learned_labels, split_logits
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import NetworkSettings
from partoken.protein.sources.label_table import read_label_table
from partoken.system.checkpoint import read_checkpoint
from partoken.system.shipped import find_weights
from tests.protein.structures import pdb_text

PACKAGE = Path(partoken.__file__).parent / "protein"
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "weights.py"


@pytest.fixture(scope="module")
def listed():
    """The list of chains, by id."""
    rows = read_label_table(PACKAGE / "pretrained" / "chains.csv")
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


@pytest.fixture(scope="module")
def embedded_rows():
    return read_label_table(PACKAGE / "embedded" / "chains.csv")


@pytest.fixture(scope="module")
def about():
    return read_checkpoint(find_weights("enzymes"))["about"]


def known(listed):
    """Chains that the weights learned from, or that chose their epoch."""
    return [row for row in listed.values() if row["role"] != "held out"]


def test_every_embedded_validation_and_test_chain_is_held_out_with_its_cluster(listed, embedded_rows):
    held_out = [row["id"] for row in embedded_rows if row["split"] != "train"]
    assert len(held_out) == 270
    assert {listed[name]["role"] for name in held_out} == {"held out"}
    assert all(listed[name]["cluster"] for name in held_out)


def test_the_weights_know_no_chain_of_a_held_out_cluster(listed):
    clusters = {row["cluster"] for row in listed.values() if row["role"] == "held out"}
    assert len(clusters) > 200
    assert len(known(listed)) > 5000
    assert [row["id"] for row in known(listed) if row["cluster"] in clusters] == []


def test_the_weights_know_no_chain_of_an_embedded_validation_or_test_cluster(listed, embedded_rows):
    clusters = {row["cluster"] for row in embedded_rows if row["split"] != "train"}
    relatives = {row["id"] for row in embedded_rows if row["cluster"] in clusters}
    assert relatives & {row["id"] for row in known(listed)} == set()


def test_the_file_says_what_the_list_says(listed, about):
    trained = [row for row in listed.values() if row["role"] == "trained"]
    assert (about["chains"], about["clusters"]) == (len(trained), len({row["cluster"] for row in trained}))
    sources = [row["source"] for row in trained]
    assert about["sources"] == {source: sources.count(source) for source in sources}


def test_the_file_is_small_and_holds_plain_tensors_and_what_a_prediction_needs():
    path = find_weights("enzymes")
    assert path.stat().st_size < 4e6
    content = torch.load(path, weights_only=True, map_location="cpu")
    assert set(content) == {"about", "epoch", "global_step", "hyper_parameters", "partoken_predict", "state_dict"}
    assert all(type(value) is torch.Tensor and value.isfinite().all() for value in content["state_dict"].values())
    size = sum(value.nbytes for value in content["state_dict"].values())
    assert path.stat().st_size < size + 200_000, "no tensor holds the memory of a larger one"
    assert "/" not in str(content["hyper_parameters"]), "no path of the machine that made it"


def test_the_file_says_how_it_was_made_and_how_good_it_is(about):
    assert set(about["recipe"]) == {"pretraining", "heads"}
    assert not any(" /" in recipe or "=/" in recipe for recipe in about["recipe"].values())
    assert set(about["test"]) == {"enzyme", "ec_top"}
    assert all(0 < own["most_frequent"] < 1 and 0 < own["accuracy"] < 1 for own in about["test"].values())
    assert "CC0" in about["licence"]


def test_no_chain_that_the_weights_know_is_similar_to_a_held_out_one(about):
    """The script aligned the sequences of all chains that it used with those of the held-out chains."""
    assert about["similar_to_held_out"] == {}


@pytest.fixture
def structures(tmp_path):
    for chain in embedded(limit=30).dataset("test").store.read(range(2)):
        (tmp_path / f"{chain.id}.pdb").write_text(pdb_text(chain))
    return tmp_path


def test_a_prediction_by_name_has_probabilities_and_says_what_the_weights_learned_from(structures, tmp_path, capsys):
    assert main(["predict", "enzymes", str(structures), "--out", str(tmp_path / "p.csv"), "--device", "cpu"]) == 0
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for label, count in (("enzyme", 2), ("ec_top", 7)):
        columns = [name for name in rows[0] if name.startswith(f"p_{label}_")]
        assert len(columns) == count
        for row in rows:
            assert sum(float(row[name]) for name in columns) == pytest.approx(1, abs=1e-5)
    assert {row["class_enzyme"] for row in rows} <= {"enzyme", "no enzyme"}
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("enzymes (enzyme or not, EC top class): trained on ") and "chains.csv" in first
    assert second.startswith("accuracy on chains of other clusters: enzyme 0.")
    assert last.startswith("2 chains classified")


def test_the_model_of_a_name_knows_what_it_is(structures, about):
    model = partoken.load("enzymes", device="cpu")
    assert model.about == about
    assert [set(chain.answers) for chain in model.predict(structures)] == [{"enzyme", "ec_top"}] * 2


def test_the_help_names_the_weights_that_ship(capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert "enzymes" in capsys.readouterr().out


@pytest.fixture(scope="module")
def script():
    """The script that makes the weights."""
    if not SCRIPT.exists():
        pytest.skip("the script is part of a clone")
    spec = importlib.util.spec_from_file_location("weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)  # as for a script, which imports its neighbours
        spec.loader.exec_module(module)
    return module


SMALL = {"node_h_dim": [8, 2], "num_layers": 1, "num_neighbors": 6, "max_clusters": 2, "nhid": 8, "codebook_size": 8}


def test_leaving_out_a_label_changes_no_answer_to_the_others(script):
    torch.manual_seed(0)
    labels = {
        name: {"class_names": names, "multi_label": False}
        for name, names in {"fold": "abc", "enzyme": "yn", "class": "wxyz", "ec_top": "1234567"}.items()
    }
    model = {**SMALL, "residue_attention": True, "fold_geometry": True, "combine": "sum"}
    network = ParToken([3, 2, 4, 7], NetworkSettings(**model)).eval()
    for value in network.state_dict().values():
        if value.is_floating_point():
            value += 0.1 * torch.rand_like(value)
    content = {
        "state_dict": {f"network.{name}": value for name, value in network.state_dict().items()},
        "hyper_parameters": {"data": {"labels": labels}, **model},
    }
    less = script.keep_labels(content, ["ec_top", "enzyme"])
    kept = learned_labels(less["hyper_parameters"]["data"])
    assert [label.name for label in kept] == ["ec_top", "enzyme"]
    other = ParToken([7, 2], NetworkSettings(**model)).eval()
    other.load_state_dict({name.removeprefix("network."): value for name, value in less["state_dict"].items()})
    batch = collate(embedded(limit=30).dataset("test").store.read(range(2))).inputs()
    before = split_logits(network(**batch).logits, learned_labels({"labels": labels}))
    after = split_logits(other(**batch).logits, kept)
    for name in ("ec_top", "enzyme"):
        torch.testing.assert_close(after[name], before[name])


def test_a_table_for_the_training_has_no_cluster_of_a_held_out_chain_and_no_chain_similar_to_one(script, tmp_path):
    names = ["id", "cluster", "source", "split", "sequence"]
    held_out = dict(list(script.held_out().items())[:3])
    rows = [{"id": f"x{number}", "cluster": str(number)} for number in range(4)]
    rows += [{"id": "relative", "cluster": "3"}, {"id": next(iter(held_out)), "cluster": "2"}]
    sequences = {row["id"]: torch.randint(20, (90,), dtype=torch.uint8).numpy() for row in rows}
    sequences["x3"] = list(held_out.values())[1].copy()
    sequences["x3"][::6] = 0
    script_held = pytest.MonkeyPatch()
    with script_held.context() as patch:
        patch.setattr(script, "held_out", lambda: held_out)
        patch.setattr(script, "sequences_of", lambda path: sequences)
        script.write_rows(tmp_path / "chains.csv", names, rows)
        script.write_table(tmp_path / "chains.npz", tmp_path / "table.csv")
    assert [row["id"] for row in read_label_table(tmp_path / "table.csv")] == ["x0", "x1"]
