"""Many tiles: pixels in memory up to a limit, read again beyond it."""

from dataclasses import replace

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.satellite.tiles.reading import read_tile
from partoken.satellite.tiles.store import TileStore
from partoken.satellite.tiles.tile import MISSING
from tests.satellite.made_tiles import made_bands, write_tile


def filled(tmp_path, limit):
    store = TileStore(lambda info: read_tile(tmp_path / info.file), memory_limit=limit)
    for i in range(4):
        store.add(read_tile(write_tile(tmp_path / f"{i}.npz", made_bands(i))))
    return store


def test_tiles_beyond_the_limit_are_read_again_with_the_same_pixels(tmp_path):
    everything, some = filled(tmp_path, None), filled(tmp_path, 2 * 12 * 16 * 16 + 5)
    assert (everything.num_in_memory, some.num_in_memory) == (4, 2)
    assert some.num_bytes == 2 * 12 * 16 * 16
    for one, two in zip(everything.read(range(4)), some.read(range(4)), strict=True):
        assert np.array_equal(one.s1, two.s1) and np.array_equal(one.s2, two.s2) and one.info == two.info


def test_facts_that_were_added_after_reading_survive(tmp_path):
    store = filled(tmp_path, 0)
    store.infos[1] = replace(store.infos[1], split="test")
    assert store.read([1])[0].info.split == "test"


def test_a_file_that_was_removed_or_replaced_during_a_run_is_an_error(tmp_path):
    store = filled(tmp_path, 0)
    (tmp_path / "0.npz").unlink()
    with pytest.raises(UserError, match=r"0.npz was readable when the run started .* no such file"):
        store.read([0])
    write_tile(tmp_path / "1.npz", made_bands(size=20))
    with pytest.raises(UserError, match=r"1.npz changed its shape"):
        store.read([1])


def test_missing_pixels_stay_missing_when_read_again(tmp_path):
    bands = made_bands()
    bands["s1_vv"][0, 0] = np.nan
    store = TileStore(lambda info: read_tile(tmp_path / info.file), memory_limit=0)
    store.add(read_tile(write_tile(tmp_path / "a.npz", bands)))
    [tile] = store.read([0])
    assert tile.s1[0, 0, 0] == MISSING and tile.info.missing_radar == 1
