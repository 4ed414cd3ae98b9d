"""Labels, splits and clusters from the columns of a table."""

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.collection import find_column, from_columns
from partoken.protein.chains.label_spec import LabelSpec
from partoken.protein.chains.store import ChainStore
from partoken.system.skipped import Skipped


def store_of(*rows: dict[str, str]) -> ChainStore:
    """A store with one chain for each row of its table."""
    coords, sequence = np.zeros((3, 4, 3), np.float32), np.zeros(3, np.uint8)
    chains = [Backbone(f"c{i}", coords, sequence, row) for i, row in enumerate(rows)]
    return ChainStore.of([*chains, Skipped("bad", "", "empty")])


def test_columns_become_labels_splits_and_clusters():
    store = store_of(
        {"kind": "3.4.21", "split": "Training", "cluster": "7"},
        {"kind": "", "split": "none", "cluster": ""},
    )
    collection = from_columns(store, [LabelSpec(column="kind", depth=1)], table_name="t.csv")
    assert collection.labels == {"": [("3",), ()]}
    assert collection.splits == ["train", ""] and collection.clusters == ["7", ""]
    assert collection.num_inputs == 3 and collection.num_unusable == 1


def test_splits_and_clusters_are_none_if_the_table_has_no_such_column():
    collection = from_columns(store_of({"label": "x"}), [LabelSpec()], table_name="t.csv")
    assert collection.splits is None and collection.clusters is None


def test_a_missing_column_is_an_error_that_suggests_the_closest_one():
    with pytest.raises(UserError, match=r"data\.x=lable: no such column in t\.csv, .* Did you mean label\?"):
        find_column("lable", ["id", "label"], "data.x", "t.csv")
