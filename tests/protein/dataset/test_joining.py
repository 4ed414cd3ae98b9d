"""Residue features are joined to the chains by id, and checked before training."""

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.collection import Collection
from partoken.protein.chains.features import open_features, write_features
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.joining import join_features

LENGTHS = {"a": 3, "b": 4, "c": 5, "d": 6}


@pytest.fixture
def collection():
    """Four chains; c has no label."""
    chains = [Backbone(n, np.zeros((k, 4, 3), np.float32), np.zeros(k, np.uint8)) for n, k in LENGTHS.items()]
    labels = {"": [("x",), ("y",), (), ("y",)]}
    splits, clusters = ["train", "train", "val", "test"], ["1", "2", "3", "4"]
    families = {0: "f", 3: "g"}  # by row of the store
    return Collection(ChainStore.of(chains), [0, 1, 2, 3], labels, splits, clusters, families=families, num_inputs=4)


@pytest.fixture
def features(tmp_path):
    def write(**lengths):
        rows = np.ones((sum(lengths.values()), 2))
        write_features(tmp_path / "f.npz", list(lengths), list(lengths.values()), 2, [rows])
        return open_features(tmp_path / "f.npz")

    return write


def test_a_chain_without_features_is_skipped_with_its_reason(collection, features):
    joined = join_features(collection, features(a=3, c=5, d=6, other=1))
    assert joined.rows == [0, 2, 3] and joined.labels == {"": [("x",), (), ("y",)]}
    assert joined.splits == ["train", "val", "test"] and joined.clusters == ["1", "3", "4"]
    assert joined.families == {0: "f", 3: "g"}
    [skipped] = joined.skipped
    assert skipped.id == "b" and skipped.reason.startswith("no features in ") and skipped.unusable
    assert joined.num_unusable == 1 and collection.num_unusable == 0


def test_an_unlabelled_chain_needs_features_only_if_it_is_used(collection, features):
    assert join_features(collection, features(a=3, b=4, d=6)).skipped == []
    used = join_features(collection, features(a=3, b=4, d=6), unlabelled=True)
    assert [s.id for s in used.skipped] == ["c"] and used.rows == [0, 1, 3]


def test_a_wrong_length_names_file_chain_and_both_lengths(collection, features):
    with pytest.raises(
        UserError, match=r"f\.npz has 7 rows for the chain b, which has 4 residues; give one row for each"
    ):
        join_features(collection, features(a=3, b=7, c=5, d=6))
    with pytest.raises(UserError, match="and 1 other chains differ too"):
        join_features(collection, features(a=3, b=7, c=5, d=7))


def test_a_file_of_other_chains_shows_an_id_of_each_side(collection, features):
    with pytest.raises(UserError, match="the data have ids such as a, this file has ids such as a_A; give the chains"):
        join_features(collection, features(a_A=3, b_A=4))
