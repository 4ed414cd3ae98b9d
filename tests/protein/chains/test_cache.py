"""The cache of chains and numbers on disk: reuse, damage, processes."""

import json
import multiprocessing
import os
import zlib

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.cache import CACHE_VERSION, FOOTER, MAGIC, cached, cached_numbers
from partoken.system.skipped import Skipped


def chain(name: str, length: int) -> Backbone:
    random = np.random.default_rng(length)
    coords = random.normal(size=(length, 4, 3)).astype(np.float32)
    coords[0, 3] = np.nan
    return Backbone(name, coords, random.integers(0, 21, length).astype(np.uint8), {"kind": name * 2})


class Source:
    """A source that counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self):
        self.reads += 1
        return iter([chain("a", 5), Skipped("", "b.pdb", "empty file"), chain("c", 3)])


@pytest.fixture
def source():
    return Source()


def cache_file(folder):
    (path,) = folder.glob("*.chains")
    return path


def test_a_source_is_read_once_and_the_cache_returns_everything(source, tmp_path):
    for _ in range(2):
        store = cached("test", {"root": "x"}, 1, source, tmp_path)
        assert store.ids == ["a", "c"] and store.columns == {"kind": ["aa", "cc"]}
        assert store.skipped == [Skipped("", "b.pdb", "empty file")]
        for actual, expected in zip(store.read([1, 0]), [chain("c", 3), chain("a", 5)], strict=True):
            np.testing.assert_array_equal(actual.coords, expected.coords)
            np.testing.assert_array_equal(actual.sequence, expected.sequence)
        assert [s.tolist() for s in store.sequences([0])] == [chain("a", 5).sequence.tolist()]
    assert source.reads == 1


def test_the_cache_takes_less_than_fifty_bytes_per_residue(tmp_path):
    cached("test", {}, 0, lambda: iter([chain("a", 20_000)]), tmp_path)
    assert cache_file(tmp_path).stat().st_size < 50 * 20_000


@pytest.mark.parametrize(
    "cache_key, state",
    [
        pytest.param({"root": "x"}, 2, id="changed source"),
        pytest.param({"root": "y"}, 1, id="other setting"),
    ],
)
def test_a_changed_source_or_setting_is_read_again(source, tmp_path, cache_key, state):
    cached("test", {"root": "x"}, 1, source, tmp_path)
    cached("test", cache_key, state, source, tmp_path)
    assert source.reads == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty", "other"])
def test_a_damaged_cache_is_built_again(source, tmp_path, damage):
    cached("test", {}, 0, source, tmp_path)
    path = cache_file(tmp_path)
    whole = path.read_bytes()
    places = range(0, len(whole), 7) if damage == "flip" else [len(whole) // 2]
    for count, place in enumerate(places, 2):
        spoiled = {
            "flip": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
            "cut": whole[:place],
            "grow": whole + b"x",
            "empty": b"",
            "other": b"PK" * 100,
        }[damage]
        path.write_bytes(spoiled)
        store = cached("test", {}, 0, source, tmp_path)
        assert source.reads == count
        np.testing.assert_array_equal(store.read([0])[0].coords, chain("a", 5).coords)
    assert path.read_bytes() == whole


def test_a_pipe_in_the_place_of_a_cache_is_replaced(source, tmp_path):
    for make in (
        lambda: cached("test", {}, 0, source, tmp_path).ids,
        lambda: cached_numbers("n", [], lambda: np.arange(3), tmp_path).tolist(),
    ):
        expected = make()
        [path] = (file for file in tmp_path.iterdir() if file.suffix in (".chains", ".numbers"))
        path.unlink()
        os.mkfifo(path)
        assert make() == expected and path.is_file()
        path.unlink()


def test_a_failed_reading_leaves_no_file(tmp_path):
    def broken():
        yield chain("a", 5)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        cached("test", {}, 0, broken, tmp_path)
    assert not list(tmp_path.glob("*.chains")) and not list(tmp_path.glob(".*.partial"))


def test_the_partial_file_of_a_killed_process_is_deleted(source, tmp_path):
    cached("test", {}, 0, source, tmp_path)
    path = cache_file(tmp_path)
    stale = path.with_name(f".{path.name}.abcd1234.partial")
    stale.write_bytes(b"half")
    cached("test", {}, 0, source, tmp_path)
    assert not stale.exists()


def test_a_source_without_chains_gives_an_empty_store(tmp_path):
    store = cached("test", {}, 0, lambda: iter([Skipped("", "x", "bad")]), tmp_path)
    assert len(store) == 0 and len(store.skipped) == 1 and store.read([]) == []


def test_the_error_names_a_folder_that_cannot_be_written(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data.cache_dir=.*file"):
        cached("test", {}, 0, source, tmp_path / "file" / "cache")


def _build(folder, log):
    def read():
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        return iter([chain("a", 500)])

    assert cached("test", {}, 0, read, folder).read([0])[0].id == "a"


def test_concurrent_processes_build_the_cache_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_build, args=(tmp_path, tmp_path / "log")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0, 0]
    assert len((tmp_path / "log").read_text().split()) == 1


def test_numbers_are_computed_once_and_again_if_the_file_is_damaged(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return np.arange(5)

    for _ in range(2):
        assert cached_numbers("n", ["x"], compute, tmp_path).tolist() == [0, 1, 2, 3, 4]
    assert len(calls) == 1
    (path,) = tmp_path.glob("*.numbers")
    path.write_bytes(path.read_bytes()[:-5] + b"12345")
    assert cached_numbers("n", ["x"], compute, tmp_path).tolist() == [0, 1, 2, 3, 4] and len(calls) == 2


@pytest.mark.parametrize("damage", ["cut", "emptied", "deleted", "replaced"])
def test_a_cache_that_changes_while_it_is_read_is_one_message(damage, source, tmp_path):
    store = cached("test", {}, 1, source, tmp_path)
    path = cache_file(tmp_path)
    if damage == "replaced":
        cached("test", {}, 2, lambda: iter([chain("other", 5), chain("d", 3)]), tmp_path)
    elif damage == "deleted":
        path.unlink()
    else:
        os.truncate(path, 100 if damage == "cut" else 0)
    with pytest.raises(UserError, match="damaged or replaced while this run read it; start the run again"):
        store.read([0])


@pytest.mark.parametrize(
    "lie",
    [
        {"lengths": [5, 4]},
        {"lengths": [9, -1]},
        {"lengths": [8]},
        {"lengths": None},
        {"ids": ["a"]},
        {"columns": {"kind": ["aa"]}},
        {"columns": ["aa", "cc"]},
        {"skipped": [["b.pdb"]]},
        {"notes": {"kind": "many"}},
    ],
    ids=str,
)
def test_a_cache_whose_index_lies_is_built_again(lie, source, tmp_path):
    cached("test", {}, 1, source, tmp_path)
    path = cache_file(tmp_path)
    raw = path.read_bytes()
    _, _, _, residues, size = FOOTER.unpack(raw[-FOOTER.size :])
    index = {**json.loads(raw[-FOOTER.size - size : -FOOTER.size]), **lie}
    content = raw[: -FOOTER.size - size] + json.dumps(index).encode()
    footer = FOOTER.pack(MAGIC, CACHE_VERSION, zlib.crc32(content), residues, len(json.dumps(index)))
    path.write_bytes(content + footer)
    assert cached("test", {}, 1, source, tmp_path).read([1])[0].id == "c"
    assert source.reads == 2
