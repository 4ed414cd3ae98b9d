"""The optical offset in the metadata of a product."""

import pytest

from partoken.satellite.convert.offset import Offset, find_offset, offset_of_baseline, offset_of_xml
from partoken.satellite.tiles.tile import BadTile

BASELINE = "<PROCESSING_BASELINE>{}</PROCESSING_BASELINE>"
OFFSETS = "".join(f'<BOA_ADD_OFFSET band_id="{band}">{{}}</BOA_ADD_OFFSET>' for band in range(3))


@pytest.mark.parametrize("baseline, offset", [("02.14", 0), ("03.01", 0), ("04.00", 1000), ("05.11", 1000)])
def test_products_carry_an_offset_from_baseline_4_on(baseline, offset):
    assert offset_of_baseline(baseline) == offset
    assert offset_of_xml(BASELINE.format(baseline)).value == offset


def test_the_offsets_in_the_xml_decide():
    text = BASELINE.format("05.00") + OFFSETS.format(*[0] * 3)
    assert offset_of_xml(text) == Offset(0, "05.00", "MTD_MSIL2A.xml")
    assert offset_of_xml(OFFSETS.format(*[-1000] * 3)).value == 1000
    assert offset_of_xml('<RADIO_ADD_OFFSET band_id="0">-1000</RADIO_ADD_OFFSET>').value == 1000


def test_a_product_made_with_sen2cor_lists_its_offset_or_has_none():
    assert offset_of_xml(BASELINE.format("99.99")).value == 0
    assert offset_of_xml(BASELINE.format("99.99") + OFFSETS.format(*[-1000] * 3)).value == 1000


@pytest.mark.parametrize("values", [(-1000, 0, -1000), (-500, -500, -500), (1000, 1000, 1000)], ids=str)
def test_other_offsets_are_refused(values):
    with pytest.raises(BadTile, match=r"MTD.xml states the offsets"):
        offset_of_xml(OFFSETS.format(*values), "MTD.xml")


def test_a_file_without_either_states_nothing():
    assert offset_of_xml("<empty/>") == Offset(None)


def test_the_xml_of_a_folder_above_comes_before_names(tmp_path):
    product = tmp_path / "S2A_MSIL2A_20220613T101031_N0400_R022_T33UUP"
    patch = product / "patches" / f"{product.name}_26_57"
    patch.mkdir(parents=True)
    assert find_offset(patch, tmp_path) == Offset(1000, "04.00", patch.name)
    (product / "MTD_MSIL2A.xml").write_text(BASELINE.format("02.05"))
    find_offset.__globals__["_xml_in"].cache_clear()
    assert find_offset(patch, tmp_path) == Offset(0, "02.05", "MTD_MSIL2A.xml")


def test_folders_above_the_data_set_do_not_count(tmp_path):
    root = tmp_path / "downloads_N0400_old"
    patch = root / "S2A_MSIL2A_20170613T101031_26_57"
    patch.mkdir(parents=True)
    (tmp_path / "MTD_MSIL2A.xml").write_text(BASELINE.format("04.00"))
    assert find_offset(patch, root / patch.name) == Offset(None)
    assert find_offset(patch, root).value == 1000, "the folder that the user names counts"
