"""Files that a user names: no waiting for a pipe, and names of any bytes."""

import os
import socket

import pytest

from partoken.errors import UserError
from partoken.system.files import atomic_write
from partoken.system.locks import file_lock
from partoken.system.tables import read_table, write_table
from partoken.system.user_files import check_output, check_regular, open_regular, printable


def test_a_regular_file_and_a_link_to_one_are_opened(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for name in ("a", "link"):
        check_regular(tmp_path / name)
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"content"


def test_everything_else_is_an_error_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", os.devnull):
            with pytest.raises(OSError, match="not a regular file"):
                open_regular(path)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_a_pipe_in_the_place_of_a_lock_is_an_error_at_once(tmp_path):
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(OSError), file_lock(tmp_path / "lock"):
        pass


@pytest.mark.parametrize(
    "raw, shown",
    [
        (b"1abc.pdb", "1abc.pdb"),
        ("größe β.pdb".encode(), "größe β.pdb"),
        (b"caf\xe9.pdb", r"caf\xe9.pdb"),
        (b"line\nbreak\x1b[31m.pdb", r"line\nbreak\x1b[31m.pdb"),
        ("right\u202eleft.pdb".encode(), r"right\u202eleft.pdb"),
    ],
)
def test_a_printable_name_keeps_what_can_be_shown_and_escapes_the_rest(raw, shown):
    name = printable(os.fsdecode(raw))
    assert name == shown and name.isprintable() and name.encode()
    assert printable(name) == name


def test_a_table_with_a_name_that_is_not_utf_8_is_written_whole(tmp_path):
    write_table(tmp_path / "a.csv", ["file"], [{"file": "first"}, {"file": os.fsdecode(b"caf\xe9")}])
    assert [row["file"] for row in read_table(tmp_path / "a.csv")] == ["first", "caf\\udce9"]
    with atomic_write(tmp_path / "a.bin", "wb") as file:
        file.write(b"\xe9")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.ckpt", r"must end in \.csv"),
        ("folder.csv", r"is a folder"),
        ("pipe.csv", "is a device or a pipe"),
        ("input.csv", "is a file that the command reads"),
        ("missing/p.csv", "the folder .*missing does not exist"),
        ("", r"is a folder"),
    ],
)
def test_a_file_to_write_replaces_only_its_own_kind(name, message, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "input.csv").touch()
    with pytest.raises(UserError, match=message):
        check_output("--out", tmp_path / name, ".csv", inputs=[tmp_path, tmp_path / "input.csv"])


def test_a_new_file_and_an_old_one_of_the_kind_may_be_written(tmp_path):
    (tmp_path / "old.CSV").touch()
    for name in ("new.csv", "old.CSV"):
        check_output("--out", tmp_path / name, ".csv")
