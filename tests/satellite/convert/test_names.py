"""Names of patches and products."""

from datetime import datetime

import pytest

from partoken.satellite.convert.names import baseline_in, optical_name, radar_name


def test_the_name_of_an_optical_patch_tells_time_place_and_scene():
    one = optical_name("S2B_MSIL2A_20180515T112109_51_5")
    assert (one.time, one.place, one.scene) == (datetime(2018, 5, 15, 11, 21, 9), "", "S2B_MSIL2A_20180515T112109")
    two = optical_name("S2A_MSIL2A_20171101T094131_N9999_R036_T35VNJ_00_07")
    assert (two.time.month, two.place) == (11, "35VNJ_00_07")
    assert two.scene == "S2A_MSIL2A_20171101T094131_N9999_R036_T35VNJ"


def test_the_name_of_a_radar_patch_tells_time_and_place():
    name = radar_name("S1A_IW_GRDH_1SDV_20170613T165043_33UUP_61_39")
    assert (name.time, name.place) == (datetime(2017, 6, 13, 16, 50, 43), "33UUP_61_39")


def test_other_names_are_not_understood():
    assert optical_name("forest_3_4") is None and radar_name("S1A_something") is None


@pytest.mark.parametrize(
    "name, baseline",
    [
        ("S2A_MSIL2A_20150804T101031_N0500_R022_T33UUP_20231010T000000.SAFE", "05.00"),
        ("S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP", "02.05"),
        ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", ""),
        ("S2A_MSIL2A_20220613T101031_26_57", ""),
        ("S2B_MSIL2A_20220613T101031_N0400", "04.00"),
    ],
)
def test_the_baseline_comes_from_the_name_of_the_product_and_not_from_its_date(name, baseline):
    assert baseline_in(name) == baseline
