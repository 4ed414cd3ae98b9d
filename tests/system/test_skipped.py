"""Skipped inputs: their table, and the error when they are too many."""

import pytest

from partoken.errors import UserError
from partoken.system.skipped import SHOWN, Skipped, check_skipped, write_skipped
from partoken.system.tables import read_table


def unusable(number):
    return [Skipped(f"chain{i}", f"{i}.pdb", f"reason {i}") for i in range(number)]


def test_the_table_has_a_row_for_every_skipped_input(tmp_path):
    skipped = [Skipped("1abc_A", "1abc.pdb", "no backbone"), Skipped("", "b.pdb", "duplicate", unusable=False)]
    write_skipped(tmp_path / "skipped.csv", skipped)
    assert read_table(tmp_path / "skipped.csv") == [
        {"id": "1abc_A", "file": "1abc.pdb", "reason": "no backbone"},
        {"id": "", "file": "b.pdb", "reason": "duplicate"},
    ]


def test_the_table_without_skipped_inputs_has_only_its_header(tmp_path):
    write_skipped(tmp_path / "skipped.csv", [])
    assert (tmp_path / "skipped.csv").read_text().strip() == "id,file,reason"


def test_the_limit_itself_is_accepted_and_one_more_is_not():
    check_skipped(unusable(1), num_inputs=10, max_skipped=0.1)
    with pytest.raises(UserError, match="2 of 10 inputs"):
        check_skipped(unusable(2), num_inputs=10, max_skipped=0.1)


def test_inputs_that_nobody_asked_for_do_not_count():
    check_skipped([Skipped("", "a.pdb", "duplicate", unusable=False)] * 9, num_inputs=10, max_skipped=0.0)


def test_no_inputs_at_all_are_accepted():
    check_skipped([], num_inputs=0, max_skipped=0.0)


def test_the_message_names_the_key_its_value_and_the_reasons():
    with pytest.raises(UserError) as caught:
        check_skipped([*unusable(1), Skipped("", "b.pdb", "empty")], num_inputs=4, max_skipped=0.25)
    message = str(caught.value)
    assert "data.max_skipped=0.25" in message
    assert "chain0: reason 0" in message
    assert "b.pdb: empty" in message, "an input without a name is named by its file"


def test_a_long_list_ends_with_the_number_of_inputs_left_out():
    with pytest.raises(UserError) as caught:
        check_skipped(unusable(SHOWN + 3), num_inputs=SHOWN + 3, max_skipped=0.1)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + SHOWN + 1
    assert "and 3 more" in lines[-1]
