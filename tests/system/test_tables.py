"""CSV tables: what is written is read back, and a failed write keeps the old table."""

import csv

import pytest

from partoken.system.tables import read_table, write_table


def test_rows_are_read_back_as_strings_in_order(tmp_path):
    write_table(tmp_path / "a.csv", ("step", "lr"), [{"step": 0, "lr": 1e-3}, {"step": 1, "lr": 5e-4}])
    assert read_table(tmp_path / "a.csv") == [{"step": "0", "lr": "0.001"}, {"step": "1", "lr": "0.0005"}]


def test_columns_have_the_order_of_the_fields(tmp_path):
    write_table(tmp_path / "a.csv", ("b", "a"), [{"a": 1, "b": 2}])
    assert (tmp_path / "a.csv").read_text().splitlines() == ["b,a", "2,1"]


def test_a_missing_field_is_an_empty_cell(tmp_path):
    write_table(tmp_path / "a.csv", ("a", "b"), [{"a": 1}])
    assert read_table(tmp_path / "a.csv") == [{"a": "1", "b": ""}]


def test_no_rows_give_a_table_with_its_header(tmp_path):
    write_table(tmp_path / "a.csv", ("a", "b"), [])
    assert (tmp_path / "a.csv").read_text().strip() == "a,b"
    assert read_table(tmp_path / "a.csv") == []


@pytest.mark.parametrize(
    "text", ["two, words", 'a "quoted" word', "two\nlines", "Å"], ids=["comma", "quote", "newline", "utf-8"]
)
def test_any_text_survives(text, tmp_path):
    write_table(tmp_path / "a.csv", ("reason",), [{"reason": text}])
    assert read_table(tmp_path / "a.csv") == [{"reason": text}]


def test_an_unknown_field_is_an_error_and_keeps_the_old_table(tmp_path):
    write_table(tmp_path / "a.csv", ("a",), [{"a": 1}])
    with pytest.raises(ValueError, match="b"):
        write_table(tmp_path / "a.csv", ("a",), [{"a": 2}, {"b": 3}])
    assert read_table(tmp_path / "a.csv") == [{"a": "1"}]


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        read_table(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("text", ["=1+1", "+x", "-cmd|'/c calc'!A1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-x"])
def test_a_text_that_a_spreadsheet_would_compute_begins_with_an_apostrophe_and_is_read_back(text, tmp_path):
    write_table(tmp_path / "a.csv", (text,), [{text: text}])
    with open(tmp_path / "a.csv", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert cells == [f"'{text}", f"'{text}"]
    assert read_table(tmp_path / "a.csv") == [{text: text}]


@pytest.mark.parametrize("value", [-1.5, "-1.5", "+2", "-inf", "-1e-3", "a=b", "", "'quoted'"])
def test_numbers_and_other_texts_stay_as_they_are(value, tmp_path):
    write_table(tmp_path / "a.csv", ("a", "b"), [{"a": value, "b": "x"}])
    with open(tmp_path / "a.csv", newline="") as file:
        assert list(csv.reader(file))[1] == [str(value), "x"]
