"""Foldcomp files: the chains that the package unpacks, damaged files, and no package."""

import importlib.util
import random

import numpy as np
import pytest

from partoken.protein.sources.foldcomp_file import as_pdb
from partoken.protein.sources.reading import read_file
from tests.protein.structures import pdb_text

with_package = pytest.mark.skipif(importlib.util.find_spec("foldcomp") is None, reason="needs the extra foldcomp")


@pytest.fixture
def packed(chains):
    """A Foldcomp file of a chain with all its atoms."""
    foldcomp = pytest.importorskip("foldcomp")
    return foldcomp.compress("1abc", pdb_text(chains[0]))


@with_package
def test_a_foldcomp_file_gives_the_chain_that_the_package_unpacks(tmp_path, chains, packed):
    import foldcomp

    (tmp_path / "1abc.fcz").write_bytes(packed)
    (tmp_path / "unpacked.pdb").write_text(foldcomp.decompress(packed)[1])
    [chain], [unpacked] = (read_file(tmp_path / name).chains for name in ("1abc.fcz", "unpacked.pdb"))
    assert chain.id == "1abc" and chain.letters == unpacked.letters == chains[0].letters
    np.testing.assert_array_equal(chain.coords, unpacked.coords)
    distance = np.linalg.norm(chain.coords - chains[0].coords, axis=-1)
    assert np.nanmedian(distance) < 0.1, "angstrom: the format is lossy"


@with_package
def test_damage_that_ends_the_process_of_the_package_spares_this_one(tmp_path, packed):
    kept = 0
    for seed in (1, 2):
        chance, damaged = random.Random(seed), bytearray(packed)
        for _ in range(3):
            damaged[4 + chance.randrange(80)] = chance.randrange(256)
        (tmp_path / "a.fcz").write_bytes(damaged[: len(damaged) - 400 * (seed % 2)])
        content = read_file(tmp_path / "a.fcz")
        assert content.chains or content.skipped
        kept += bool(content.chains)
    assert kept < 2
    assert as_pdb(packed).startswith(b"TITLE"), "the next file is read"


def test_without_the_package_the_reason_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.fcz").write_bytes(b"FCMP" + bytes(100))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    [skipped] = read_file(tmp_path / "a.fcz").skipped
    assert skipped.reason == 'a Foldcomp file, which needs the extra foldcomp: pip install "partoken[foldcomp]"'
