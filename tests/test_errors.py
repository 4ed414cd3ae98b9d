"""Checks of single settings: what they accept, and what their message says; and the printing of errors."""

import math

import pytest

from partoken.errors import UserError, check_choice, check_flag, check_number, check_text, did_you_mean, print_error


@pytest.mark.parametrize("value", [0, 0.5, 3])
def test_numbers_within_limits_are_accepted(value):
    check_number("k", value, minimum=0, maximum=3)


@pytest.mark.parametrize(
    ("value", "limits", "allowed"),
    [
        (-1, {"minimum": 0}, "a number of 0 or more"),
        (0, {"above": 0}, "a number above 0"),
        (1, {"minimum": 0, "below": 1}, "a number of 0 or more and below 1"),
        (2, {"above": 0, "maximum": 1}, "a number above 0 and at most 1"),
        (1.5, {"minimum": 1, "whole": True}, "a whole number of 1 or more"),
        (None, {"minimum": 1}, "a number of 1 or more"),
        (0, {"minimum": 1, "optional": True}, "a number of 1 or more, or null"),
        (True, {}, "a number"),
        ("1", {}, "a number"),
        (math.nan, {}, "a number"),
        (math.inf, {"minimum": 0}, "a number of 0 or more"),
    ],
)
def test_other_values_are_rejected_with_what_is_allowed(value, limits, allowed):
    with pytest.raises(UserError) as caught:
        check_number("train.x", value, **limits)
    assert str(caught.value) == f"train.x={value!r}: must be {allowed}"


def test_null_is_accepted_only_where_it_is_allowed():
    check_number("k", None, optional=True)
    check_text("k", None, optional=True)
    check_choice("k", None, ["a", "b"], optional=True)
    for check in (check_number, check_text, check_flag):
        with pytest.raises(UserError):
            check("k", None)


def test_a_choice_lists_the_words_and_the_closest_one():
    with pytest.raises(UserError, match=r"^k=stp: choose epoch or step\. Did you mean step\?$"):
        check_choice("k", "stp", ["epoch", "step"])
    with pytest.raises(UserError, match=r"^k=zzz: choose a, b or null\.$"):
        check_choice("k", "zzz", ["a", "b"], optional=True)


def test_nothing_is_suggested_for_a_word_that_is_close_to_none():
    assert did_you_mean("qqqq", ["train.lr"]) == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("train.lr=0: must be above 0"), "error: train.lr=0: must be above 0\n"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), "error: a.csv: No such file or directory\n"),
    ],
    ids=["user", "file"],
)
def test_a_mistake_of_the_user_is_one_line_and_exit_status_2(error, line, capsys):
    assert print_error(error) == 2
    assert capsys.readouterr() == ("", line)


def test_an_error_of_the_system_without_a_file_is_no_mistake_of_the_user():
    with pytest.raises(OSError, match="disk"):
        print_error(OSError("disk"))


def test_a_whole_number_that_no_library_can_hold_is_refused():
    with pytest.raises(UserError, match=r"train\.seed=4294967296: must be a whole number of at most 2147483647"):
        check_number("train.seed", 2**32, minimum=0, whole=True)
