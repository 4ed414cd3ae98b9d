"""The options of `data` that every source has: every invalid value is an error that names its key."""

import pytest

from partoken.errors import UserError
from partoken.protein.chains.label_spec import LabelSpec
from partoken.protein.dataset.options import DataOptions


@pytest.mark.parametrize(
    "options, message",
    [
        ({"split": "clusters"}, "data.split=clusters: choose given, cluster, random or null. Did you mean cluster?"),
        ({"fractions": (0.5, 0.5)}, "data.fractions=[0.5, 0.5]: must be three numbers"),
        ({"fractions": (0.7, 0.2, 0.2)}, "that sum to 1"),
        ({"fractions": (1.2, -0.1, -0.1)}, "of at least 0"),
        ({"fractions": (float("nan"), 0.5, 0.5)}, "that sum to 1"),
        ({"fractions": "0.7"}, "data.fractions=0.7"),
        ({"classes": "1"}, "data.classes=1: must be a list"),
        ({"class_names": ["alpha"]}, "must map labels to names"),
        ({"class_names": {1: None}}, "data.class_names.1=None: must be a text"),
        ({"class_names": {1: " "}}, "data.class_names.1=' '"),
        ({"class_names": {1: "a;b"}}, "without a semicolon"),
        ({"min_class_size": 0}, "data.min_class_size=0: must be a whole number of 1 or more"),
        ({"min_class_size": None}, "data.min_class_size=None"),
        ({"limit": 0}, "data.limit=0: must be a whole number of 1 or more, or null"),
        ({"limit": 2.5}, "data.limit=2.5"),
        ({"limit": True}, "data.limit=True"),
        ({"max_residues_per_batch": 0}, "data.max_residues_per_batch=0"),
        ({"epochs_per_pass": 0}, "data.epochs_per_pass=0"),
        ({"cluster_balance": -0.5}, "data.cluster_balance=-0.5"),
        ({"cluster_balance": 2}, "data.cluster_balance=2"),
        ({"cluster_identity": -0.1}, "data.cluster_identity=-0.1: must be a number of 0 or more and at most 1"),
        ({"cluster_identity": float("nan")}, "data.cluster_identity=nan"),
        ({"multi_label": "yes"}, "data.multi_label='yes': must be true or false"),
        ({"max_skipped": 10}, "data.max_skipped=10"),
        ({"max_skipped": "all"}, "data.max_skipped='all'"),
    ],
    ids=str,
)
def test_an_invalid_option_is_an_error_that_names_its_key(options, message):
    with pytest.raises(UserError) as caught:
        DataOptions(**options)
    assert message in str(caught.value)


def test_lists_and_mappings_of_a_yaml_file_are_valid():
    options = DataOptions(fractions=[0.7, 0.15, 0.15], classes=[1, "mainly beta"], class_names={1: "alpha"})
    assert options.limit is None


@pytest.mark.parametrize(
    ("options", "depth", "message"),
    [
        ({"classes": ["a", "b"]}, None, "data.classes=['a', 'b']: is for a single label"),
        ({"class_names": {1: "a"}}, None, "data.class_names={1: 'a'}: is for a single label"),
        ({}, 2, "data.label_depth=2: is for a single label"),
    ],
    ids=["classes", "class_names", "label_depth"],
)
def test_options_of_a_single_label_are_rejected_beside_several(options, depth, message):
    with pytest.raises(UserError) as caught:
        DataOptions(label_columns=["x", "y"], **options).label_specs("label", depth)
    assert message in str(caught.value) and "set it to null" in str(caught.value)


def test_a_single_label_has_the_options_of_the_data_and_no_name():
    (single,) = DataOptions(min_class_size=3, classes=["a", "b"]).label_specs("kind", 2)
    assert single == LabelSpec("", "kind", 2, min_class_size=3, classes=["a", "b"])
