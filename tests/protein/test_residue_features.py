"""Residue features from the file of a user to the batches, the checkpoint, and a prediction."""

import csv

import numpy as np
import pytest
import torch

import partoken
from partoken.cli import main
from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.chains.features import open_features, write_features
from partoken.protein.pretraining import MaskedResidueTask
from partoken.protein.task import ParTokenTask
from tests.protein.structures import pdb_text

WIDTH = 6
TRAIN = {"batch_size": 4, "monitor": "val_macro_f1", "monitor_mode": "max"}
SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 16}


def values_of(store, width=WIDTH):
    """Features that say which residue of which chain they belong to, float32 [L, width] for each chain."""
    for row, length in enumerate(store.lengths):
        yield np.stack([np.full(length, row), np.arange(length), *np.ones((width - 2, length))], axis=1)


@pytest.fixture(scope="module")
def store():
    return embedded().collection.store


@pytest.fixture(scope="module")
def file(tmp_path_factory, store):
    path = tmp_path_factory.mktemp("features") / "features.npz"
    write_features(path, store.ids, store.lengths, WIDTH, values_of(store), np.float32)
    return path


@pytest.fixture(scope="module")
def data(file):
    return embedded(limit=30, min_class_size=20, batch_size=4, residue_features=str(file))


@pytest.fixture(scope="module")
def checkpoint(data, tmp_path_factory):
    return save(data, tmp_path_factory.mktemp("model") / "best.ckpt")


def save(data, path):
    torch.manual_seed(0)
    task = ParTokenTask(train=TRAIN, data=data.settings(), **SMALL)
    torch.save({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "epoch": 0}, path)
    return path


@pytest.fixture
def structures(tmp_path, data, store):
    """Three structure files named by the ids of their chains."""
    (tmp_path / "in").mkdir()
    for chain in store.read(data.dataset("test").rows[:3]):
        (tmp_path / "in" / f"{chain.id}.pdb").write_text(pdb_text(chain))
    return tmp_path / "in"


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_features_of_a_batch_are_those_of_its_chains(data, file, store, num_workers):
    shuffled = embedded(limit=30, min_class_size=20, batch_size=4, residue_features=str(file), num_workers=num_workers)
    for batch in shuffled.train_dataloader():
        rows = [store.ids.index(name) for name in batch.ids]
        lengths = batch.ptr.diff()
        assert batch.features.shape == (len(batch.coords), WIDTH) and batch.features.dtype == torch.float32
        assert torch.equal(batch.features[:, 0], torch.tensor(rows).repeat_interleave(lengths).float())
        assert torch.equal(batch.features[:, 1], torch.cat([torch.arange(k) for k in lengths]).float())


def test_the_settings_of_the_data_keep_the_width(data, file):
    assert data.settings()["residue_features"] == {"width": WIDTH}
    assert embedded(limit=30).settings()["residue_features"] is None
    assert f"residue features: 6 float32 values per residue from {file}" in data.describe()


def test_the_task_trains_the_map_of_the_features(data):
    task = ParTokenTask(train=TRAIN, data=data.settings(), **SMALL)
    batch = next(iter(data.train_dataloader()))
    loss, _ = task.loss(task(batch), batch.labels)
    loss.backward()
    assert task.network.feature_input.linear.weight.grad.abs().sum() > 0


def test_too_many_chains_without_features_stop_the_run(tmp_path, store):
    some = store.ids[:600]
    write_features(tmp_path / "f.npz", some, store.lengths[:600], 2, [np.ones((store.lengths[:600].sum(), 2))])
    with pytest.raises(UserError, match=r"(?s)264 of 905 inputs .* no features in .*f\.npz"):
        embedded(residue_features=str(tmp_path / "f.npz")).setup("fit")


@pytest.mark.parametrize("value", [3, ""])
def test_a_value_that_is_no_path_is_refused(value):
    with pytest.raises(UserError, match=r"data\.residue_features=.*: must be a text that is not empty, or null"):
        embedded(residue_features=value)


def test_a_prediction_reads_the_features_of_its_chains(checkpoint, file, structures, tmp_path):
    one = partoken.load(checkpoint, "cpu", file).predict(structures)
    assert len(one) == 3
    features = open_features(file)
    names, lengths = features.ids, features.lengths
    opposite = (-features.read(name) for name in names)
    write_features(tmp_path / "other.npz", names, lengths, WIDTH, opposite, np.float32)
    two = partoken.load(checkpoint, "cpu", tmp_path / "other.npz").predict(structures)
    assert [p.id for p in one] == [p.id for p in two]
    assert all(a.probabilities != b.probabilities for a, b in zip(one, two, strict=True))


def test_a_prediction_equals_that_of_the_data_module(checkpoint, data, file, structures):
    dataset = data.dataset("test")
    task = ParTokenTask(train=TRAIN, data=data.settings(), **SMALL).eval()
    task.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    with torch.inference_mode():
        expected = task(dataset[[0, 1, 2]]).logits.softmax(-1)
    found = {p.id: list(p.probabilities.values()) for p in partoken.load(checkpoint, "cpu", file).predict(structures)}
    answers = torch.tensor([found[name] for name in dataset.ids[:3]])
    torch.testing.assert_close(answers, expected, atol=2e-3, rtol=0)  # a PDB file rounds the coordinates


def test_the_command_skips_chains_without_features(checkpoint, structures, store, tmp_path, capsys):
    names = sorted(path.stem for path in structures.iterdir())
    lengths = [int(store.lengths[store.ids.index(name)]) for name in names]
    lengths[1] += 1
    rows = np.ones((sum(lengths[:2]), WIDTH))
    write_features(tmp_path / "f.npz", names[:2], lengths[:2], WIDTH, [rows])
    out = tmp_path / "p.csv"
    arguments = ["predict", str(checkpoint), str(structures), "--out", str(out), "--device", "cpu"]
    assert main([*arguments, "--residue-features", str(tmp_path / "f.npz")]) == 0
    assert "1 chains classified" in capsys.readouterr().out
    with open(tmp_path / "p.skipped.csv", newline="") as file:
        skipped = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert list(skipped) == names[1:]
    assert skipped[names[1]].startswith(f"{lengths[1]} rows in ")
    assert skipped[names[1]].endswith(f" for {lengths[1] - 1} residues")
    assert skipped[names[2]].startswith("no features in ")


def test_a_checkpoint_and_a_file_that_do_not_fit_are_one_message(checkpoint, file, structures, tmp_path, capsys):
    write_features(tmp_path / "narrow.npz", ["a"], [3], 2, [np.ones((3, 2))])
    plain = save(embedded(limit=30, min_class_size=20), tmp_path / "plain.ckpt")
    cases = [
        (checkpoint, [], "was trained with 6 features of each residue: give those of these chains with --residue-feat"),
        (checkpoint, ["narrow.npz"], "narrow.npz has 2 features of each residue, but"),
        (checkpoint, ["missing.npz"], "missing.npz: no such file or folder"),
        (plain, [str(file)], "plain.ckpt was trained without such features; leave them out"),
    ]
    for model, given, words in cases:
        flags = ["--residue-features", str(tmp_path / given[0])] if given else []
        arguments = ["predict", str(model), str(structures), "--out", str(tmp_path / "p.csv"), *flags]
        assert main(arguments) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*p.csv*"))


def test_a_checkpoint_of_an_older_version_still_loads(structures, tmp_path):
    path = save(embedded(limit=30, min_class_size=20), tmp_path / "old.ckpt")
    content = torch.load(path, weights_only=True)
    del content["hyper_parameters"]["data"]["residue_features"]
    torch.save(content, path)
    assert len(partoken.load(path, "cpu").predict(structures)) == 3


def test_a_frozen_encoder_embeds_the_features_once_for_each_file(data, file, store, tmp_path):
    other = tmp_path / "other.npz"
    write_features(other, store.ids, store.lengths, WIDTH, (-values for values in values_of(store)), np.float32)
    task = ParTokenTask(train=TRAIN, data=data.settings(), frozen_encoder=True, **SMALL)
    found = []
    for path in (file, other):
        module = embedded(limit=30, min_class_size=20, residue_features=str(path), cache_dir=str(tmp_path / "cache"))
        module.embed(task.network.fingerprint(), task._encode, 16)
        batch = next(iter(module.val_dataloader()))
        assert batch.features is None, "the encoder does not run again"
        found.append(batch.embedding)
    assert found[0].shape == found[1].shape and not torch.allclose(found[0], found[1])


@pytest.mark.parametrize(
    ("kind", "options"),
    [(ParTokenTask, {}), (MaskedResidueTask, {"mask_fraction": 0.5})],
    ids=["labels", "pretraining"],
)
def test_weights_of_a_network_with_other_features_are_refused(data, checkpoint, kind, options):
    content = torch.load(checkpoint, weights_only=True)
    without = {**data.settings(), "residue_features": None}
    with pytest.raises(UserError, match=r"reads 6 features of each residue, and this one reads 0: set data\.residue_f"):
        kind(train=TRAIN, data=without, **SMALL, **options).check_weights(content)
    ParTokenTask(train=TRAIN, data=data.settings(), **SMALL).check_weights(content)
