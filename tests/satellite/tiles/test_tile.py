"""Packing of pixels, what counts as missing, and the scene that a name tells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partoken.satellite.tiles.tile import MISSING, TileInfo, make_tile, pack_optical, pack_radar, scene_of


def pixels(*values):
    """One pixel with the given bands, float64 [C, 1, 1]."""
    return np.array(values, dtype=float).reshape(-1, 1, 1)


@given(st.floats(-50, 30), st.floats(-50, 30))
def test_radar_is_kept_to_half_a_hundredth_of_a_decibel(vv, vh):
    packed = pack_radar(pixels(vv, vh))
    assert packed.dtype == np.int16
    if vv != 0 or vh != 0:
        np.testing.assert_allclose(packed.ravel() * 0.01, [vv, vh], atol=0.00501)


@pytest.mark.parametrize(
    "vv, vh",
    [(np.nan, -17), (-11, np.nan), (-np.inf, -17), (-11, np.inf), (0, 0), (-60, -17), (-11, -999)],
    ids=str,
)
def test_a_radar_pixel_is_missing_if_one_of_its_bands_is(vv, vh):
    assert (pack_radar(pixels(vv, vh)) == MISSING).all()


def test_a_radar_pixel_with_one_band_at_zero_decibel_is_valid():
    assert pack_radar(pixels(0, -8)).ravel().tolist() == [0, -800]


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (np.nan, 1, 1, 1), (400, 500, 65535, 3000)], ids=str)
def test_an_optical_pixel_without_data_or_saturated_is_missing(counts):
    assert (pack_optical(pixels(*counts)) == MISSING).all()


def test_a_single_zero_is_a_dark_band_without_an_offset_and_no_data_with_one():
    assert pack_optical(pixels(0, 20, 30, 40)).ravel().tolist() == [0, 20, 30, 40]
    assert (pack_optical(pixels(0, 1020, 1030, 1040), offset=1000) == MISSING).all()


def test_the_offset_is_subtracted_and_dark_surfaces_become_negative():
    assert pack_optical(pixels(1500, 990, 1000, 4000), offset=1000).ravel().tolist() == [500, -10, 0, 3000]


def test_a_tile_counts_its_missing_pixels_and_its_darkest_value():
    s1, s2 = np.full((2, 4, 4), -1000, np.int16), np.full((4, 4, 4), 300, np.int16)
    s1[:, 0, :3], s2[:, 1, 1], s2[2, 3, 3] = MISSING, MISSING, 7
    info = make_tile(TileInfo("a", "a", (0, 0), offset=1000), s1, s2).info
    assert (info.shape, info.missing_radar, info.missing_optical, info.darkest) == ((4, 4), 3, 1, 1007)


@pytest.mark.parametrize(
    "name, scene",
    [
        ("v1_S2A_MSIL2A_20170617T113321_48_5", "v1_S2A_MSIL2A_20170617T113321"),
        ("s1f11_Spain_7370579_0_3", "s1f11_Spain_7370579"),
        ("harbour_3", "harbour_3"),
        ("1_2", "1_2"),
        ("S2A_MSIL2A_20170617T113321", "S2A_MSIL2A_20170617T113321"),
    ],
)
def test_the_scene_is_the_name_without_row_and_column(name, scene):
    assert scene_of(name) == scene
