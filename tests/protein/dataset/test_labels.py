"""Names, choice and encoding of classes."""

import numpy as np
import pytest
import torch

from partoken.errors import UserError
from partoken.protein.dataset.labels import choose_classes, count_classes, encode_labels, name_classes

LABELS = [("1",), ("1",), ("2",), ("2", "3"), ()]
KNOWN = {"1": "mainly alpha", "2": "mainly beta", "4": "few secondary structures"}
NAMES = {"1": "mainly alpha", "2": "mainly beta", "3": "3"}


def test_a_label_without_a_name_is_its_own_name():
    assert name_classes(LABELS, {}) == {"1": "1", "2": "2", "3": "3"}


def test_the_names_of_the_source_are_used_and_may_include_absent_labels():
    assert name_classes(LABELS, KNOWN) == NAMES


def test_the_names_of_the_user_override_those_of_the_source():
    assert name_classes(LABELS, KNOWN, {1: "helices", "3": "both"}) == {
        "1": "helices",
        "2": "mainly beta",
        "3": "both",
    }


def test_the_user_may_name_an_absent_label_that_the_source_knows():
    assert name_classes(LABELS, KNOWN, {4: "few"}) == NAMES


@pytest.mark.parametrize(
    "class_names, message",
    [
        ({5: "five"}, "data.class_names.5: no chain has the label 5; the labels are 1, 2, 3"),
        ({1: "same", 2: "same"}, "the labels 1 and 2 have the same name 'same'"),
        ({3: "mainly beta"}, "the labels 2 and 3 have the same name 'mainly beta'"),
        ({1: "2", 2: "1"}, "data.class_names.1=2: 2 is the label of another class"),
    ],
    ids=["unknown label", "one name for two labels", "the name of another class", "swapped labels"],
)
def test_invalid_names_are_an_error(class_names, message):
    with pytest.raises(UserError) as caught:
        name_classes(LABELS, KNOWN, class_names)
    assert message in str(caught.value)


def test_a_misspelt_label_is_an_error_that_suggests_the_closest_one():
    with pytest.raises(UserError, match=r"Did you mean kinase\?"):
        name_classes([("kinase",), ("lyase",)], {}, {"kinases": "Kinase"})


def test_classes_are_sorted_by_label_and_not_by_name():
    names = {"1": "z", "2": "a", "3": "m"}
    assert choose_classes(LABELS, names)[0] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "classes",
    [[1, 2], ["2", "1"], ["mainly beta", "mainly alpha"], [1, "mainly beta"], ["1", "2", "mainly alpha"]],
    ids=str,
)
def test_classes_are_chosen_by_label_or_name_in_any_order(classes):
    kept, dropped = choose_classes(LABELS, NAMES, classes)
    assert kept == ["1", "2"] and dropped == {"3": 1}


def test_classes_below_the_minimum_size_are_left_out_and_counted():
    kept, dropped = choose_classes(LABELS, NAMES, min_class_size=2)
    assert kept == ["1", "2"] and dropped == {"3": 1}


def test_an_unknown_class_is_an_error_that_lists_labels_and_names():
    with pytest.raises(UserError) as caught:
        choose_classes(LABELS, NAMES, [1, "mainly bata"])
    assert str(caught.value) == (
        "data.classes: no chain has the class mainly bata; the classes are 1 (mainly alpha), 2 (mainly beta), 3. "
        "Did you mean mainly beta?"
    )


def test_fewer_than_two_classes_are_an_error_that_lists_the_classes_of_the_data():
    with pytest.raises(UserError, match=r"at least two classes .* the data have mainly alpha \(2\), mainly beta"):
        choose_classes(LABELS, NAMES, [1])


def test_multi_label_data_are_encoded_as_zeros_and_ones():
    encoded = encode_labels([("1",), ("2", "3")], ["1", "2", "3"], multi_label=True)
    np.testing.assert_array_equal(encoded, [[1, 0, 0], [0, 1, 1]])
    assert encoded.dtype == np.float32
    assert count_classes(torch.from_numpy(encoded), 3) == [1, 1, 1]


def test_an_unlabelled_chain_is_marked_and_counts_for_no_class():
    numbers = torch.from_numpy(encode_labels([("2",), (), ("1",)], ["1", "2"], multi_label=False))
    assert numbers.tolist() == [1, -1, 0] and count_classes(numbers, 2) == [1, 1]
    several = torch.from_numpy(encode_labels([("1", "2"), ()], ["1", "2"], multi_label=True))
    assert several[0].tolist() == [1, 1] and several[1].isnan().all() and count_classes(several, 2) == [1, 1]


def test_messages_name_the_label_of_several():
    with pytest.raises(UserError, match=r"at least two classes of data\.label_columns\.ec\.min_class_size=5 or more"):
        choose_classes(LABELS, NAMES, None, 5, "data.label_columns.ec")
    with pytest.raises(UserError, match=r"data\.label_columns\.ec\.classes: no chain has the class 9"):
        choose_classes(LABELS, NAMES, [9], path="data.label_columns.ec")
