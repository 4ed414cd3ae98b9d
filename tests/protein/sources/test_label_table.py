"""Label tables as other programs write them."""

import os

import pytest

from partoken.errors import UserError
from partoken.protein.sources.label_table import read_label_table


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("id,label\na,x\n", id="plain"),
        pytest.param("\ufeffid;label\r\na;x\r\n", id="byte order mark, semicolons, Windows"),
        pytest.param("id\tlabel\na\tx", id="tabs"),
        pytest.param("id, label\n\na, x\n", id="spaces and empty lines"),
    ],
)
def test_tables_of_common_programs_give_the_same_rows(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    assert read_label_table(path) == [{"id": "a", "label": "x"}]


def test_short_rows_are_filled_and_cells_beyond_the_header_are_dropped(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,label\na\nb,x,y\n")
    assert read_label_table(path) == [{"id": "a", "label": ""}, {"id": "b", "label": "x"}]


@pytest.mark.parametrize(
    "content, message",
    [
        pytest.param(None, "no such file", id="missing"),
        pytest.param(b"\n\n", "is empty: expected a header line", id="empty"),
        pytest.param(b"\xff\xfe\x00", "cannot be read as a table", id="binary"),
    ],
)
def test_a_table_that_cannot_be_read_is_an_error_that_says_why(tmp_path, content, message):
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_label_table(path)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(UserError, match=r"cannot be read as a table.*not a regular file"):
        read_label_table(tmp_path / "labels.csv")
