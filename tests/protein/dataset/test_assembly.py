"""From labelled chains to the data set of each split."""

import copy
import dataclasses

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.collection import Collection
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.assembly import build_datasets, select_chains
from partoken.protein.dataset.options import DataOptions


@pytest.fixture
def collection():
    """Twelve chains in given splits; labels a and b occur in all splits, c has no training chain."""
    coords = np.zeros((3, 4, 3), np.float32)
    chains = [Backbone(f"c{i}", coords, np.full(3, i, np.uint8)) for i in range(12)]
    labels = {"": [("a",), ("b",)] * 5 + [("c",), ()]}
    splits = ["train"] * 6 + ["val", "val", "test", "test", "test", "train"]
    return Collection(ChainStore.of(chains), list(range(12)), labels, splits)


def ids_by_split(collection, options=None, seed=0):
    options = options or DataOptions()
    selection = select_chains(collection, options, seed)
    datasets = build_datasets(collection.store, selection, options)
    return {split: data.ids for split, data in datasets.items()}


def test_given_splits_are_kept(collection):
    assert ids_by_split(collection) == {
        "train": ["c0", "c1", "c2", "c3", "c4", "c5"],
        "val": ["c6", "c7"],
        "test": ["c8", "c9"],
    }


def test_a_class_without_a_training_chain_is_dropped_with_the_reason(collection):
    collection.class_names = {"": {"c": "third"}}
    selection = select_chains(collection, DataOptions(), seed=0)
    label = selection.only
    assert label.class_names == ["a", "b"] and label.dropped == {"third": 1}
    (skipped,) = selection.skipped
    assert (skipped.id, skipped.reason) == ("c10", "no training chain has its class third")
    assert not skipped.unusable


def test_a_chain_without_a_split_is_not_used(collection):
    collection.splits[0] = ""
    assert ids_by_split(collection)["train"] == ["c1", "c2", "c3", "c4", "c5"]


def test_chains_of_one_cluster_stay_in_one_split(collection):
    collection.clusters = ["x", "x", "y", "y"] + [""] * 8
    collection.labels = {"": [("a",), ("b",)] * 6}
    ids = ids_by_split(collection, DataOptions(split="cluster"))
    split_of = {name: split for split, names in ids.items() for name in names}
    assert len(split_of) == 12
    assert split_of["c0"] == split_of["c1"] and split_of["c2"] == split_of["c3"]


def test_the_collection_stays_unchanged(collection):
    before = copy.deepcopy([collection.rows, collection.labels, collection.splits, collection.skipped])
    ids_by_split(collection, DataOptions(limit=6))
    assert before == [collection.rows, collection.labels, collection.splits, collection.skipped]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"splits": None}, "data.split=given: the table has no column split"),
        ({"splits": ["train"] * 8 + ["val"] * 4}, r"the split test has no chain \(chains: train 8, val 2, test 0\)"),
        ({"labels": {"": [("a",)] * 6 + [("b",)] * 6}}, "all training chains have the class a, at least two classes"),
    ],
    ids=["no given splits", "empty split", "one class in training"],
)
def test_unusable_splits_are_an_error(collection, changes, message):
    if "labels" in changes:
        changes = {**changes, "splits": ["train"] * 6 + ["val"] * 3 + ["test"] * 3}
    with pytest.raises(UserError, match=message):
        ids_by_split(dataclasses.replace(collection, **changes), DataOptions(split="given"))


SEVERAL = DataOptions(label_columns=["kind", {"column": "fold", "min_class_size": 2}])


@pytest.fixture
def doubly(collection):
    """The twelve chains with a second label: a fold, which c0 does not have, and c11 has nothing else."""
    folds = [()] + [("x",), ("y",)] * 5 + [("x",)]
    return dataclasses.replace(collection, labels={"kind": collection.labels[""], "fold": folds})


def test_a_chain_is_used_if_it_has_one_of_several_labels(doubly):
    assert ids_by_split(doubly, SEVERAL) == {
        "train": ["c0", "c1", "c2", "c3", "c4", "c5", "c11"],
        "val": ["c6", "c7"],
        "test": ["c8", "c9", "c10"],
    }
    datasets = build_datasets(doubly.store, select_chains(doubly, SEVERAL, 0), SEVERAL)
    batch = datasets["train"][[0, 1, 6]]
    assert {name: label.tolist() for name, label in batch.labels.items()} == {"kind": [0, 1, -1], "fold": [-1, 0, 0]}


def test_a_class_without_a_training_chain_is_left_out_of_its_own_label_only(doubly):
    selection = select_chains(doubly, SEVERAL, 0)
    assert selection.labels["kind"].class_names == ["a", "b"] and selection.labels["kind"].dropped == {"c": 1}
    assert selection.labels["fold"].class_names == ["x", "y"] and not selection.labels["fold"].dropped
    (skipped,) = selection.skipped
    assert (skipped.id, skipped.reason) == ("c10", "kind not used: no training chain has its class c")


def test_splits_are_balanced_by_the_first_label_that_a_chain_has(doubly):
    doubly.labels["kind"] = [("a",)] * 4 + [("b",)] * 4 + [()] * 4
    doubly.labels["fold"] = [()] * 8 + [("x",), ("y",)] * 2
    options = dataclasses.replace(SEVERAL, split="random", fractions=(0.5, 0.25, 0.25))
    selection = select_chains(doubly, options, 0)
    for name, label in (("kind", "a"), ("kind", "b")):
        of_class = np.array([of_chain == (label,) for of_chain in selection.labels[name].of_chains])
        assert np.bincount(selection.splits[of_class], minlength=3).tolist() == [2, 1, 1]


def test_a_split_without_a_chain_of_one_label_is_an_error_that_names_it(doubly):
    doubly.labels["fold"] = [of_chain if i < 6 else () for i, of_chain in enumerate(doubly.labels["fold"])]
    with pytest.raises(
        UserError, match=r"data\.label_columns\.fold: the split val and test has no chain with this label"
    ):
        ids_by_split(doubly, SEVERAL)


def test_one_class_among_the_training_chains_of_a_label_is_an_error_that_names_it(doubly):
    doubly.labels["fold"] = [("x",)] * 6 + [("y",)] * 5 + [()]
    with pytest.raises(UserError, match="all training chains have the class x of fold"):
        ids_by_split(doubly, dataclasses.replace(SEVERAL, limit=None, split="given"))


def test_training_chains_count_by_the_size_of_their_cluster_among_them(collection):
    collection.clusters = ["big"] * 4 + ["small", ""] + ["big", "v", "t", "u", "w", "x"]
    options = DataOptions(cluster_balance=0.5)
    datasets = build_datasets(collection.store, select_chains(collection, options, 0), options)
    weights = datasets["train"].weights
    assert weights.mean().item() == pytest.approx(1)
    # Four training chains of one cluster, whose fifth chain is for validation; two chains alone.
    np.testing.assert_allclose(weights / weights[4], [0.5] * 4 + [1, 1], rtol=1e-6)
    assert datasets["train"][[4, 1]].weights.tolist() == weights[[4, 1]].tolist()
    assert datasets["val"].weights is None and datasets["test"][[0]].weights is None


def test_clusters_are_computed_where_the_source_has_none(collection, tmp_path):
    options = DataOptions(cluster_balance=1.0, cache_dir=tmp_path)
    datasets = build_datasets(collection.store, select_chains(collection, options, 0), options)
    assert datasets["train"].weights.shape == (6,)
    plain = DataOptions()
    assert build_datasets(collection.store, select_chains(collection, plain, 0), plain)["train"].weights is None
