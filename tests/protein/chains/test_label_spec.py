"""The labels to learn: `data.label_columns` in its two forms, and what it rejects."""

import pytest
from omegaconf import OmegaConf

from partoken.composition import plain_group
from partoken.config import compose
from partoken.errors import UserError
from partoken.protein.chains.label_spec import LabelSpec, label_names, read_label_columns


def test_a_list_and_a_mapping_by_name_name_the_same_labels():
    entry = {"column": "cath", "depth": 3, "weight": 0.5}
    assert read_label_columns(["enzyme", entry]) == read_label_columns({"enzyme": None, "cath_3": entry})
    assert read_label_columns({"fold": "cath"}) == (LabelSpec("fold", "cath"),)
    assert label_names([{"column": "SCOP-CL"}, {"column": "ec", "name": "reaction"}]) == ("SCOP_CL", "reaction")
    assert label_names(None) == ()


def test_an_entry_overrides_the_defaults_of_all_labels():
    one, two = read_label_columns(["a", {"column": "b", "min_class_size": 5}], min_class_size=20, multi_label=True)
    assert (one.min_class_size, two.min_class_size) == (20, 5) and one.multi_label and two.multi_label


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data.label_columns=[enzyme,{column: ec, depth: 2}]"], ["enzyme", {"column": "ec", "depth": 2}]),
        (
            ["data.label_columns={t: {column: cath, depth: 3, weight: 1}}", "data.label_columns.t.weight=0.5"],
            {"t": {"column": "cath", "depth": 3, "weight": 0.5}},
        ),
        (
            ["data.label_columns={t: {column: cath}}", "+data.label_columns.t.depth=2"],
            {"t": {"column": "cath", "depth": 2}},
        ),
    ],
    ids=["list", "one value of a mapping", "one value more"],
)
def test_both_forms_pass_through_the_configuration(words, expected):
    assert plain_group(compose(words), "data")["label_columns"] == expected


def test_a_configuration_that_is_not_yet_plain_is_read_too():
    assert label_names(OmegaConf.create(["a", {"column": "b"}])) == ("a", "b")
    assert label_names(OmegaConf.create({"x": {"column": "b"}})) == ("x",)


def test_labels_of_several_cells_add_up_or_contradict_each_other():
    assert LabelSpec().parse("a", "b") == () and LabelSpec().parse("a", "a; a") == ("a",)
    assert LabelSpec(multi_label=True).parse("b", "a;c") == ("a", "b", "c")
    assert LabelSpec(first=True).parse("-; b; a") == ("b",) and LabelSpec(first=True).parse("b;a", "c") == ()
    assert LabelSpec(depth=1).parse("3.4", "3.5") == ("3",)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], r"data\.label_columns=\[\]: must be a list"),
        ({}, r"data\.label_columns=\[\]: must be a list"),
        ("enzyme", r"data\.label_columns=enzyme: must be a list"),
        ([7], r"data\.label_columns\[0\]=7: must be the name of a column"),
        (["a", {"depth": 2}], r"data\.label_columns\[1\]=.*: names no column"),
        ([{"column": "a", "dept": 2}], r"data\.label_columns\[0\]\.dept: no such key; .* Did you mean depth\?"),
        ({"x": {"column": "a", "name": "y"}}, r"data\.label_columns\.x\.name: no such key"),
        (["a", {"column": "a", "weight": 2}], "two labels have the name a; give one of them another"),
        ([{"column": "a", "name": "a b"}], "the name 'a b' must consist of letters, digits and underscores"),
        (["macro"], "the name macro is that of a score, macro_f1"),
        (["loss"], "the name loss is that of a score, loss"),
        (["ec", "ec_balanced"], "two labels would have a metric ec_balanced_accuracy"),
        (["a", {"column": "b", "weight": -1}], r"data\.label_columns\.b\.weight=-1: must be a number of 0 or more"),
        (["a", {"column": "b", "weight": "big"}], r"data\.label_columns\.b\.weight='big': must be a number"),
        ([{"column": "a", "weight": 0}], "all weights are 0"),
        ([{"column": "a", "depth": 0}], r"data\.label_columns\.a_0\.depth=0: must be a whole number of 1 or more"),
        ([{"column": "a", "first": True, "multi_label": True}], r"\.first=true: .*set one of the two to false"),
        ([{"column": "a", "classes": "x"}], r"data\.label_columns\.a\.classes=x: must be a list"),
        ([{"column": "a", "class_names": {1: ""}}], r"data\.label_columns\.a\.class_names\.1=''"),
    ],
    ids=str,
)
def test_a_label_that_cannot_be_learned_is_rejected_by_its_key(entries, message):
    with pytest.raises(UserError, match=message):
        read_label_columns(entries)
