import numpy as np
import pytest
import torch

from partoken.errors import UserError
from partoken.protein.catalog import embedded


@pytest.fixture(scope="module")
def data():
    module = embedded(min_class_size=20, batch_size=16)
    module.setup("fit")
    return module


def test_embedded_chains_are_the_documented_ones(data):
    assert data.class_names == ["1", "2", "3"] and data.num_classes == 3 and not data.multi_label
    assert data.class_counts == {"train": [125, 96, 343], "val": [26, 20, 58], "test": [20, 29, 64]}
    assert data.majority_accuracy == 64 / 113
    enzymes = embedded("ec_top")
    assert [sum(counts) for counts in enzymes.class_counts.values()] == [469, 104, 104]


def test_embedded_coordinates_are_backbones(data):
    for chain in data.collection.store.read(range(0, 905, 50)):
        n, ca, c, o = chain.coords.transpose(1, 0, 2)
        for first, second, length in ((n, ca, 1.46), (ca, c, 1.525), (c, o, 1.23)):
            bond = np.linalg.norm(first - second, axis=-1)
            assert abs(np.nanmedian(bond) - length) < 0.02
        assert np.isfinite(chain.coords).any()


def test_splits_share_no_chain(data):
    ids = [set(data.dataset(split).ids) for split in ("train", "val", "test")]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 781


def test_loaders_give_every_chain_its_label(data):
    assert len(data.train_dataloader()) == data.num_train_batches() == 36
    for split in ("train", "val", "test"):
        dataset, loader = data.dataset(split), getattr(data, f"{split}_dataloader")()
        seen = []
        for batch in loader:
            seen += batch.index.tolist()
            assert torch.equal(batch.label, dataset.labels[batch.index])
            assert batch.ids == tuple(dataset.ids[i] for i in batch.index)
            assert batch.ptr[-1] == len(batch.coords) == len(batch.sequence)
        assert sorted(seen) == list(range(len(dataset)))


def test_workers_load_the_same_batches(data):
    apart = embedded(min_class_size=20, batch_size=16, num_workers=1)
    for one, two in zip(data.val_dataloader(), apart.val_dataloader(), strict=True):
        assert one.ids == two.ids and torch.equal(one.coords, two.coords)


def test_limit_takes_chains_of_every_split_and_class():
    few = embedded(min_class_size=20, limit=30)
    assert 27 <= sum(map(sum, few.class_counts.values())) <= 33
    assert all(min(counts) > 0 for counts in few.class_counts.values())


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(batch_size=0), "train.batch_size=0"),
        (dict(num_workers=-1), "train.num_workers=-1"),
        (dict(max_residues_per_batch=0), "data.max_residues_per_batch=0"),
        (dict(limit=0), "data.limit=0"),
        (dict(split="clusters"), "data.split=clusters: choose given"),
        (dict(max_skipped=10), "data.max_skipped=10"),
        (dict(label_column="cath_clas"), "Did you mean cath_class"),
        (dict(classes=["1", "9"]), "no chain is labelled 9"),
        (dict(classes=["1"]), "at least two classes"),
        (dict(limit=3), "no training chain has the class .* data.limit=3 may be too small"),
        (dict(split="random", fractions=(0.5, 0.5, 0.5)), "sum to 1"),
        (dict(split="random", fractions=(0.9, 0.1, 0.0)), "the split test has no chain"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(UserError, match=message):
        embedded(**options).setup("fit")


def test_multi_label_targets_are_zeros_and_ones():
    data = embedded("cath", label_depth=1, multi_label=True, min_class_size=20)
    assert data.class_names == ["1", "2", "3"]
    batch = next(iter(data.val_dataloader()))
    assert batch.label.dtype == torch.float32 and batch.label.shape == (8, 3)
    assert set(batch.label.unique().tolist()) <= {0.0, 1.0} and (batch.label.sum(1) >= 1).all()
    assert sum(data.class_counts["val"]) == int(data.dataset("val").labels.sum())
