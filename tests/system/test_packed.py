"""A small file that would fill the memory is refused before it is unpacked."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.sources.arrays import read_arrays
from partoken.satellite.tiles.reading import read_tile
from partoken.satellite.tiles.tile import BadTile
from partoken.system import packed
from partoken.system.packed import check_unpacked_size

NAMES = {"chains": ("offsets", "id", "seq", "coords"), "tile": ("vv", "vh", "b2", "b3", "b4", "b8")}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Makes a megabyte large, so that the files of the tests are small."""
    monkeypatch.setattr(packed, "LARGE", 1 << 20)


def bomb(path, names, megabytes=64):
    np.savez_compressed(path, **dict.fromkeys(names, np.zeros(megabytes << 20, np.uint8)))
    return path


@pytest.mark.parametrize(
    ("kind", "read", "error"),
    [("chains", lambda path: list(read_arrays(path)), UserError), ("tile", read_tile, BadTile)],
)
def test_an_array_that_would_fill_the_memory_is_not_read(kind, read, error, tmp_path):
    path = bomb(tmp_path / "bomb.npz", NAMES[kind])
    (tmp_path / "bomb.csv").write_text("id,label\na,1\n")
    tracemalloc.start()
    with pytest.raises(error, match=r"\.npy has 1 MB and would unpack to 64 MB; save it uncompressed"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_large_arrays_of_ordinary_numbers_pass(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 20000, 1 << 20).astype(np.int32)
    np.savez_compressed(tmp_path / "numbers.npz", numbers=numbers)
    with zipfile.ZipFile(tmp_path / "numbers.npz") as archive:
        check_unpacked_size(archive)


def test_an_array_whose_header_claims_more_than_any_memory_has_a_reason(tmp_path):
    path, header = tmp_path / "liar.npz", np.lib.format
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES["chains"]:
            with archive.open(f"{name}.npy", "w") as file:
                header.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 50, 4, 3)})
    (tmp_path / "liar.csv").write_text("id,label\na,1\n")
    with pytest.raises(UserError, match="is damaged"):
        list(read_arrays(path))
