"""Numbers of whole chains: computed once for the chains of a run, and joined to batches only if asked for."""

import numpy as np
import pytest
import torch

from partoken.protein.catalog import embedded
from partoken.protein.dataset import folds
from partoken.protein.geometry.composition import composition
from partoken.protein.geometry.fold import fold_geometry


@pytest.fixture
def data(tmp_path):
    return embedded(limit=20, cache_dir=str(tmp_path), batch_size=4)


def test_batches_hold_the_fold_geometry_of_their_own_chains(data):
    data.add_folds()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            torch.testing.assert_close(batch.fold, fold_geometry(batch.coords, batch.ptr), rtol=1e-5, atol=1e-5)
            assert batch.inputs()["fold"] is batch.fold


def test_batches_have_no_fold_geometry_unless_asked_for(data):
    assert "fold" not in next(iter(data.train_dataloader())).inputs()


def test_fold_geometry_is_computed_once(data, monkeypatch, tmp_path):
    first = data.folds
    monkeypatch.setattr(folds, "fold_geometry", None)
    again = embedded(limit=20, cache_dir=str(tmp_path)).folds
    assert len(first) == 20 and again.path == first.path


def test_another_version_of_the_numbers_is_computed_again(data, monkeypatch, tmp_path):
    first = data.folds
    monkeypatch.setattr(folds, "FOLD_VERSION", folds.FOLD_VERSION + 1)
    assert embedded(limit=20, cache_dir=str(tmp_path)).folds.path != first.path


def test_compositions_are_those_of_the_chains(data, tmp_path):
    dataset = data.dataset("val")
    opened = folds.open_compositions(data.collection.store, dataset.rows, tmp_path)
    batch = dataset[list(range(len(dataset)))]
    found = torch.from_numpy(np.concatenate(list(opened.read_all(batch.ids))))
    assert torch.equal(found, composition(batch.coords, batch.ptr, batch.sequence))


def test_chains_are_described_with_their_labels(data):
    numbers, labels = data.describe_chains("test")
    dataset = data.dataset("test")
    batch = dataset[list(range(len(dataset)))]
    assert torch.equal(labels[""], batch.labels[""])
    torch.testing.assert_close(numbers["fold"], fold_geometry(batch.coords, batch.ptr), rtol=1e-5, atol=1e-5)
    assert len(numbers["composition"]) == len(batch)


def test_chains_are_not_described_without_baselines(tmp_path):
    assert embedded(limit=20, cache_dir=str(tmp_path), baselines=False).describe_chains("train") is None
    assert not list(tmp_path.glob("folds-*"))
