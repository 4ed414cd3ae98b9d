"""The file of the surroundings of residues: computed once for the chains of a run, and joined to batches."""

import pytest
import torch

from partoken.protein.catalog import embedded
from partoken.protein.dataset import surroundings as room
from partoken.protein.geometry.surroundings import surroundings


@pytest.fixture
def counted(monkeypatch):
    """The lengths of the chains whose surroundings were computed."""
    lengths = []

    def compute(coords, ptr):
        lengths.extend(ptr.diff().tolist())
        return surroundings(coords, ptr)

    monkeypatch.setattr(room, "surroundings", compute)
    return lengths


def data_in(folder):
    return embedded(limit=8, cache_dir=str(folder), batch_size=3)


def test_batches_hold_the_surroundings_of_their_own_chains(tmp_path):
    data = data_in(tmp_path)
    data.add_surroundings()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            assert torch.equal(batch.surroundings, surroundings(batch.coords, batch.ptr))
            assert batch.inputs()["surroundings"] is batch.surroundings


def test_batches_have_no_surroundings_unless_they_are_asked_for(tmp_path, counted):
    assert "surroundings" not in next(iter(data_in(tmp_path).train_dataloader())).inputs()
    assert not counted


def test_the_surroundings_of_a_chain_are_computed_once(tmp_path, counted):
    for _ in range(2):
        data = data_in(tmp_path)
        data.add_surroundings()
        data.add_surroundings()
    assert len(counted) == 8


def test_another_version_is_computed_again(tmp_path, counted, monkeypatch):
    data_in(tmp_path).add_surroundings()
    monkeypatch.setattr(room, "SURROUNDINGS_VERSION", -1)
    data_in(tmp_path).add_surroundings()
    assert len(counted) == 16
