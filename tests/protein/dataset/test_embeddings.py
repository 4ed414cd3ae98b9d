"""The file of a frozen encoder's embeddings: computed once for an encoder and its chains, and joined to batches."""

import numpy as np
import pytest
import torch

from partoken.protein.catalog import embedded
from partoken.protein.dataset import embeddings
from partoken.protein.dataset.embeddings import open_embeddings


@pytest.fixture
def data(tmp_path):
    return embedded(limit=20, cache_dir=str(tmp_path), batch_size=4)


class Encoder:
    """Embeds a residue as its coordinates, and counts the chains that it was asked for."""

    def __init__(self):
        self.seen = []

    def __call__(self, batch):
        self.seen += batch.ids
        return torch.nan_to_num(batch.coords.flatten(1))


def test_batches_hold_the_embeddings_of_their_own_chains(data):
    data.embed("encoder", Encoder(), 12)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            assert torch.equal(batch.embedding, torch.nan_to_num(batch.coords.flatten(1)))
            assert batch.inputs()["embedding"] is batch.embedding


def test_batches_have_no_embeddings_unless_an_encoder_is_frozen(data):
    assert "embedding" not in next(iter(data.train_dataloader())).inputs()


def test_each_chain_is_embedded_once_for_an_encoder(tmp_path):
    first, again, other = Encoder(), Encoder(), Encoder()
    embedded(limit=20, cache_dir=str(tmp_path)).embed("encoder", first, 12)
    embedded(limit=20, cache_dir=str(tmp_path)).embed("encoder", again, 12)
    embedded(limit=20, cache_dir=str(tmp_path)).embed("other encoder", other, 12)
    assert sorted(first.seen) == sorted(set(first.seen)) == sorted(other.seen)
    assert len(first.seen) == 20 and not again.seen


def test_other_coordinates_are_embedded_again(data, tmp_path):
    rows, encoder = np.arange(5), Encoder()
    store = data.collection.store
    open_embeddings(store, rows, "encoder", encoder, 12, tmp_path)
    coords, sequence = store._arrays()
    store._arrays = lambda: (coords + np.float32(1), sequence)
    moved = open_embeddings(store, rows, "encoder", encoder, 12, tmp_path)
    assert len(encoder.seen) == 10
    expected = np.nan_to_num(coords[: store.lengths[0]] + np.float32(1)).reshape(-1, 12)
    np.testing.assert_array_equal(moved.read(store.ids[0]), expected)


def test_a_damaged_file_is_computed_again(data, tmp_path, caplog):
    data.embed("encoder", Encoder(), 12)
    (file,) = tmp_path.glob("embeddings-*.npz")
    whole = file.read_bytes()
    file.write_bytes(whole[:5000] + b"damage" + whole[5006:])
    again = Encoder()
    embedded(limit=20, cache_dir=str(tmp_path)).embed("encoder", again, 12)
    assert len(again.seen) == 20 and "damaged" in caplog.text
    assert file.read_bytes() == whole


def test_batches_of_the_encoder_are_small_and_in_order():
    lengths = np.array([100, 150, 60, 500, 10])
    assert list(embeddings.divide_chains(lengths, 300)) == [[0, 1], [2], [3], [4]]
