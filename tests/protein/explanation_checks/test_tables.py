"""Tables: means, spreads, their form on a terminal."""

from partoken.protein.explanation_checks.tables import CheckTable, format_table, tabulate


def test_one_run_has_the_spread_over_chains_and_several_runs_that_over_runs():
    one = {"a": {"x": [0.0, 1.0, 1.0, 0.0]}}
    assert tabulate("", "", "line", [one]).rows == [["a", 4, "0.500 +- 0.289"]]
    two = {"a": {"x": [0.5, 0.9]}}
    assert tabulate("", "", "line", [one, two]).rows == [["a", 4, "0.600 +- 0.141"]]


def test_a_row_or_column_that_is_missing_is_a_dash():
    table = tabulate("", "", "line", [{"a": {"x": [1.0]}, "b": {"y": [2.0]}}])
    assert table.rows == [["a", 1, "1.000", "-"], ["b", 1, "-", "2.000"]]


def test_columns_are_aligned():
    lines = format_table(CheckTable("Title", "", ["line", "x"], [["long name", "1.000"], ["b", 10]]))
    assert lines == ["Title", "  line           x", "  long name  1.000", "  b             10"]
