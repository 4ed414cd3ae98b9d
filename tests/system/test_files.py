"""Atomic writes: readers see the old file or the new one, also after an error or a kill."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import partoken
from partoken.system.files import atomic_path, atomic_write, delete_partial, link_or_copy, write_json


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_content_replaces_the_old_when_the_block_ends(old):
    with atomic_write(old) as file:
        file.write("new")
        assert old.read_text() == "old"
    assert old.read_text() == "new"
    assert names(old.parent) == ["table.csv"]


def test_an_error_in_the_block_keeps_the_old_file_and_deletes_the_partial_one(old):
    with pytest.raises(RuntimeError, match="disk on fire"), atomic_write(old) as file:
        file.write("half of the n")
        raise RuntimeError("disk on fire")
    assert old.read_text() == "old"
    assert names(old.parent) == ["table.csv"]


def test_a_kill_in_the_block_keeps_the_old_file_and_the_next_write_deletes_the_partial_one(old):
    code = """
import os, signal, sys
from partoken.system.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write("half of the n")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(partoken.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code, str(old)], env=environment, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert old.read_text() == "old"
    assert len(names(old.parent)) == 2

    with atomic_write(old) as file:
        file.write("new")
    assert old.read_text() == "new"
    assert names(old.parent) == ["table.csv"]


def test_a_write_leaves_the_partial_files_of_other_paths_alone(old):
    other = old.with_name(".table.csv2.0011aabb.partial")
    other.write_text("another process is writing this")
    with atomic_write(old) as file:
        file.write("new")
    assert other.exists()


def test_only_partial_files_of_the_path_are_deleted(tmp_path):
    path = tmp_path / "a[1].csv"
    for name in ("a[1].csv", ".a[1].csv.0011aabb.partial", ".a1.csv.0011aabb.partial"):
        (tmp_path / name).write_text("")
    delete_partial(path)
    assert names(tmp_path) == [".a1.csv.0011aabb.partial", "a[1].csv"]


def test_text_is_utf_8_with_newlines_as_written(tmp_path):
    with atomic_write(tmp_path / "a.txt") as file:
        file.write("Å\r\n\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\x85\r\n\n"


def test_bytes_are_written_as_given(tmp_path):
    with atomic_write(tmp_path / "a.bin", "wb") as file:
        file.write(b"\r\n\x00\xff")
    assert (tmp_path / "a.bin").read_bytes() == b"\r\n\x00\xff"


def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"), atomic_write(tmp_path / "missing/a.txt"):
        pass


def test_json_is_indented_and_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"a": [1, None]}
    assert text.startswith('{\n  "a"') and text.endswith("}\n")


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_json_does_not_have_is_an_error_and_keeps_the_old_file(old, number):
    with pytest.raises(ValueError):
        write_json(old, {"loss": number})
    assert old.read_text() == "old"


@pytest.mark.parametrize("has_links", [True, False], ids=["hard links", "no hard links"])
def test_a_second_name_has_the_same_content_and_survives_a_new_first_one(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
    first, second = tmp_path / "last.ckpt", tmp_path / "kept.ckpt"
    first.write_text("one")
    second.write_text("older")
    link_or_copy(first, second)
    link_or_copy(first, second)
    assert second.read_text() == "one"
    with atomic_write(first) as file:
        file.write("two")
    assert (first.read_text(), second.read_text()) == ("two", "one")
    assert names(tmp_path) == ["kept.ckpt", "last.ckpt"]


def test_a_file_that_a_library_writes_by_name_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_path(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"] and path.read_text() == "old"
    with atomic_path(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"] and path.read_text() == "new"
