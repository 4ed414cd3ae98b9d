"""The column of the families: `data.family` in its two forms, and its way through the labels of a source."""

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.collection import from_columns
from partoken.protein.chains.family import FamilySpec, read_family, take_families
from partoken.protein.chains.label_spec import LabelSpec
from partoken.protein.chains.store import ChainStore


def test_a_column_or_a_mapping_names_the_families():
    assert read_family(None) is None
    assert read_family("pfam") == read_family({"column": "pfam"}) == FamilySpec(column="pfam")
    assert read_family({"column": "cath", "depth": 2, "first": True}).parse("3.40.50; 1.10.8") == ("3.40",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, r"data\.family=7: must be a column, a mapping such as \{column: cath, depth: 4, first: true\}, or null"),
        (["cath"], r"data\.family=\['cath'\]: must be a column"),
        ({"depth": 4}, r"data\.family=.*: must be a column"),
        (
            {"column": "cath", "dept": 4},
            r"data\.family\.dept: no such key; known: .*, first\. Did you mean depth\?",
        ),
        ({"column": "cath", "weight": 1}, r"data\.family\.weight: no such key"),
        ({"column": "cath", "depth": 0}, r"data\.family\.depth=0: must be a whole number of 1 or more, or null"),
        ({"column": "cath", "first": "yes"}, r"data\.family\.first='yes': must be true or false"),
        ({"column": None}, r"data\.family\.column=None"),
    ],
    ids=str,
)
def test_a_wrong_value_is_an_error_that_names_its_key(value, message):
    with pytest.raises(UserError, match=message):
        read_family(value)


@pytest.fixture
def store():
    """Four chains; the last two have no family that counts."""
    cells = [("a", "3.40.50"), ("b", "3.40.9;1.10.8"), ("-", "-"), ("", "")]
    return ChainStore.of(
        Backbone(f"c{i}", np.zeros((3, 4, 3), np.float32), np.zeros(3, np.uint8), {"family": label, "cath": cath})
        for i, (label, cath) in enumerate(cells)
    )


def test_families_leave_the_labels_and_stay_with_their_chains(store):
    labels = LabelSpec("family", "family"), read_family({"column": "cath", "depth": 2, "first": True})
    read = take_families(from_columns(store, labels, table_name="table", known_names=lambda spec: {"a": spec.column}))
    assert read.labels == {"family": [("a",), ("b",), (), ()]} and read.class_names == {"family": {"a": "family"}}
    assert read.families == {0: "3.40", 1: "3.40"}
    assert read.labelled == [True, True, False, False], "a family is no label"


def test_a_source_without_families_is_left_as_it_is(store):
    read = from_columns(store, [LabelSpec("family", "family")], table_name="table")
    assert take_families(read) is read and read.families is None
