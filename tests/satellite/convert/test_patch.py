"""Converting one pair of patches: the offset, what is written, and what is refused."""

import numpy as np
import pytest

from partoken.satellite.convert.pairs import Pair
from partoken.satellite.convert.patch import convert_patch, remove_offset
from partoken.satellite.tiles.reading import read_tile
from partoken.satellite.tiles.tile import MISSING, BadTile
from tests.satellite.convert.patches import of, read_npy, write_patch

NAME = "S2A_MSIL2A_20170613T101031_{}_R022_T33UUP_26_57"


def convert(tmp_path, optical, baseline="N9999", assumed=0, radar=None, split=""):
    pair = Pair(
        write_patch(tmp_path / NAME.format(baseline), optical),
        write_patch(tmp_path / "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57", radar or of("s1")),
        split,
    )
    path = tmp_path / "out" / "a.npz"
    return convert_patch(pair, path, tmp_path, assumed, read_npy), path


@pytest.mark.parametrize(
    "baseline, carried, assumed, known",
    [("N0205", 0, 1000, True), ("N0400", 1000, 0, True), ("N0511", 1000, 0, True), ("N9999", 1000, 1000, False)],
    ids=["before 4", "4", "after 4", "unknown"],
)
def test_the_tile_has_reflectance_without_offset_whatever_the_product_carries(
    tmp_path, baseline, carried, assumed, known
):
    result, path = convert(tmp_path, of("s2", offset=carried), baseline, assumed)
    assert (result.reason, result.offset_removed, result.offset_known) == ("", carried, known)
    tile = read_tile(path)
    assert np.array_equal(tile.s2, np.stack([*of("s2").values()]).astype(int))
    assert (tile.info.offset, tile.info.offset_stated, tile.info.month) == (0, True, 6)
    assert tile.info.scene == NAME.format(baseline)[:-6]
    with np.load(path) as file:
        assert file["s2_offset_removed"] == carried and file["s2_offset"] == 0
        assert file["s2_baseline"] == ("" if baseline == "N9999" else f"{baseline[1:3]}.{baseline[3:]}")
        assert file["crs"] == "EPSG:32633" and file["transform"].tolist()[2] == 600_000
        assert file["s2_b2"].dtype == (np.int16 if carried else np.uint16)


def test_no_data_stays_no_data_and_black_does_not_become_it(tmp_path):
    optical = of("s2", offset=1000)
    for values in optical.values():
        values[0, 0], values[1, 1], values[2, 2] = 0, 1000, 65_535
    optical["s2_b4"][3, 3] = 0
    _, path = convert(tmp_path, optical, "N0400")
    tile = read_tile(path)
    missing = tile.s2[0] == MISSING
    assert sorted(map(tuple, np.argwhere(missing))) == [(0, 0), (2, 2), (3, 3)]
    assert tile.s2[:, 1, 1].tolist() == [1, 1, 1, 1]


def test_a_product_that_cannot_carry_its_offset_is_refused(tmp_path):
    result, path = convert(tmp_path, of("s2"), "N0400")
    assert "carry no offset of 1000" in result.reason and not path.exists()
    with pytest.raises(BadTile):
        remove_offset(np.full((4, 2, 2), 300), 1000)


def test_a_split_is_written_if_the_pair_has_one(tmp_path):
    _, path = convert(tmp_path, of("s2"), split="validation")
    assert read_tile(path).info.split == "val"


def test_a_patch_that_cannot_be_used_has_a_reason_and_no_file(tmp_path):
    optical = of("s2")
    del optical["s2_b8"]
    result, path = convert(tmp_path, optical)
    assert result.reason == f"no file {NAME.format('N9999')}_B08.tif" and not path.exists()
    power = {name: 10 ** (values / 10) for name, values in of("s1").items()}
    result, path = convert(tmp_path, of("s2"), radar=power)
    assert "the radar is not in dB" in result.reason and not path.exists()
    result, _ = convert(tmp_path, {**of("s2"), "s2_b3": np.ones((12, 12))})
    assert "the bands differ in shape" in result.reason and "s2_b3 12 x 12" in result.reason
