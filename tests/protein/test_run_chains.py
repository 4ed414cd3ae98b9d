"""The chains of a run, read again from its folder."""

import csv

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.run_chains import GIVEN, open_run
from tests.protein.runs import write_run
from tests.protein.structures import pdb_text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def structure(tmp_path, chains):
    path = tmp_path / "mine.pdb"
    path.write_text(pdb_text(chains[0]))
    return path


def test_a_run_folder_gives_the_chains_of_each_split_with_their_true_classes(run):
    opened = open_run(run)
    data = embedded(limit=40, min_class_size=20, seed=3)
    assert opened.splits == ("train", "val", "test")
    for split in opened.splits:
        dataset = data.dataset(split)
        assert opened.ids(split) == dataset.ids == [chain.id for chain in opened.read(split)]
        names = [data.class_names[number] for number in dataset.labels[""].tolist()]
        assert list(opened.truth(split).values()) == [{"": name} for name in names]


def test_the_network_classifies_the_chains_of_its_run(run):
    opened = open_run(run / "checkpoints" / "best.ckpt")
    assert opened.folder == run
    wanted = opened.ids("test")[1:3]
    chains = opened.read("test", wanted)
    assert [prediction.id for prediction in opened.predictor.classify(chains)] == wanted


def test_several_labels_have_a_truth_each_and_an_absent_one_is_left_out(tmp_path):
    columns = "data.label_columns=[{column: cath_class, name: fold}, {column: ec_top, name: function}]"
    opened = open_run(write_run(tmp_path / "run", columns, "data.limit=60"))
    truth = opened.truth("train")
    assert {frozenset(labels) for labels in truth.values()} >= {frozenset({"fold"}), frozenset({"fold", "function"})}


def test_a_checkpoint_outside_a_run_needs_structures(run, tmp_path, structure):
    alone = tmp_path / "alone.ckpt"
    alone.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"no run folder.*--structures"):
        open_run(alone)
    opened = open_run(alone, [structure])
    assert opened.splits == (GIVEN,)
    assert opened.truth(GIVEN) == {"mine": {}}
    assert opened.read(GIVEN)[0].names is not None


def test_relative_paths_mean_the_folder_in_which_the_run_was_started(tmp_path, chains, monkeypatch):
    (tmp_path / "structures").mkdir()
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "split"])
        for number, chain in enumerate(chains[:12]):
            (tmp_path / "structures" / f"c{number}.pdb").write_text(pdb_text(chain))
            writer.writerow([f"c{number}", number % 2, ("train", "val", "test")[number // 2 % 3]])
    monkeypatch.chdir(tmp_path)
    folder = [
        "data=folder",
        "data.root=structures",
        "data.labels=labels.csv",
        "data.limit=null",
        "data.cache_dir=cache",
    ]
    write_run(tmp_path / "run", *folder)
    monkeypatch.chdir("/")
    opened = open_run(tmp_path / "run")
    assert sorted(opened.ids("test")) == ["c10", "c11", "c4", "c5"]
    [named, _, *_] = opened.name_residues(opened.read("test"))
    assert named.names is not None and len(named.names.numbers) == len(named)


def test_other_classes_than_those_of_the_network_are_an_error(run, tmp_path):
    changed = write_run(tmp_path / "run")
    config = OmegaConf.load(changed / ".hydra" / "config.yaml")
    config.data.label_column = "ss_class"
    OmegaConf.save(config, changed / ".hydra" / "config.yaml")
    with pytest.raises(UserError, match=r"its data has changed, the classes are .* now and were"):
        open_run(changed)


def test_other_chains_than_those_of_the_training_are_a_warning(tmp_path, caplog):
    changed = write_run(tmp_path / "run")
    config = OmegaConf.load(changed / ".hydra" / "config.yaml")
    config.data.limit = 50
    OmegaConf.save(config, changed / ".hydra" / "config.yaml")
    open_run(changed)
    assert "other chains now" in caplog.text


def test_what_is_no_run_is_one_message(run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    torch.save({"state_dict": {}, "hyper_parameters": {}}, tmp_path / "other.ckpt")
    for name, reason in {
        "nothing": "no such run folder or checkpoint",
        "empty": r"has no checkpoints/best.ckpt \(status: no run folder\)",
        "sweep": "is the folder of a sweep; give the folder of one of its jobs",
        "other.ckpt": "no run folder",
    }.items():
        with pytest.raises(UserError, match=reason):
            open_run(tmp_path / name)


def test_a_damaged_configuration_is_one_message(tmp_path):
    broken = write_run(tmp_path / "run")
    (broken / ".hydra" / "config.yaml").write_text("data: {")
    with pytest.raises(UserError, match="the configuration of the run cannot be read"):
        open_run(broken)
    (broken / ".hydra" / "config.yaml").write_text("data: {}\nmodel: {}\n")
    with pytest.raises(UserError, match="has no group train"):
        open_run(broken)


def test_the_chains_of_an_npz_file_may_be_given(run, tmp_path, chains):
    path = tmp_path / "chains.npz"
    np.savez(
        path,
        id=[chain.id for chain in chains[:2]],
        offsets=np.cumsum([0, *map(len, chains[:2])]),
        coords=np.concatenate([chain.coords for chain in chains[:2]]),
        seq=[chain.letters for chain in chains[:2]],
    )
    opened = open_run(run, [path])
    assert opened.ids(GIVEN) == [chain.id for chain in chains[:2]]
    assert opened.read(GIVEN)[1].letters == chains[1].letters
    path.with_suffix(".csv").write_text(f"id,enzyme\n{chains[1].id},1\n")
    assert [chain.fields for chain in open_run(run, [path]).given] == [{}, {"enzyme": "1"}]
