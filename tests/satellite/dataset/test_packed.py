"""Tiles of one size in one file with a table."""

import numpy as np

from partoken.satellite.dataset.packed import read_packed
from partoken.satellite.tiles.tile import MISSING


def test_a_packed_file_has_the_pixels_and_facts_of_its_tiles(tmp_path):
    s1, s2 = np.full((2, 2, 16, 16), -900, np.int16), np.full((2, 4, 16, 16), 500, np.int16)
    s1[1, :, 0, 0] = MISSING
    np.savez(tmp_path / "tiles.npz", s1=s1, s2=s2)
    (tmp_path / "tiles.csv").write_text("id,scene,split,month,country\na,north,train,6,Austria\nb,south,,12,\n")
    found = read_packed(tmp_path / "tiles.npz")
    first, second = found.store.read([0, 1])
    assert np.array_equal(second.s1, s1[1]) and found.num_inputs == 2
    assert (first.info.id, first.info.scene, first.info.split, first.info.month) == ("a", "north", "train", 6)
    assert second.info.missing_radar == 1 and second.info.split == "" and second.info.offset_stated
