"""Finding patches, and pairing radar with optical ones."""

import sys

import pytest

from partoken.errors import UserError
from partoken.satellite.convert.pairs import find_patches, pair_patches, read_metadata
from tests.satellite.convert.patches import of, version_1, version_2, write_patch


def test_version_1_is_paired_by_the_json_of_the_radar_patch(tmp_path):
    pairs, skipped = pair_patches(find_patches(version_1(tmp_path)))
    assert skipped == [] and [pair.name for pair in pairs] == [f"S2A_MSIL2A_20170613T101031_{i}_45" for i in range(3)]
    assert [pair.radar.name for pair in pairs] == [f"S1B_IW_GRDH_1SDV_20170612T165809_33UUP_{i}_45" for i in range(3)]


def test_version_2_is_paired_by_place_and_the_nearest_time(tmp_path):
    pairs, skipped = pair_patches(find_patches(version_2(tmp_path)))
    assert skipped == []
    for i, pair in enumerate(pairs):
        assert pair.name.endswith(f"T33UUP_26_{i:02}")
        assert pair.radar.name == f"S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_{i:02}"


def metadata(root, **cells):
    product = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    row = {
        "patch_id": f"{product}_26_01",
        "s1_name": "S1B_IW_GRDH_1SDV_20170620T165809_33UUP_26_01",
        "split": "validation",
        "contains_seasonal_snow": "False",
        "contains_cloud_or_shadow": "False",
        **cells,
    }
    (root / "metadata.csv").write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    return read_metadata(root)


def test_the_metadata_name_the_radar_patch_and_the_split(tmp_path):
    rows = metadata(version_2(tmp_path))
    pairs, _ = pair_patches(find_patches(tmp_path), rows)
    assert [pair.split for pair in pairs] == ["", "validation", ""]
    assert [pair.radar.name[17:25] for pair in pairs] == ["20170612", "20170620", "20170612"]


@pytest.mark.parametrize("flag", ["contains_seasonal_snow", "contains_cloud_or_shadow"])
def test_flagged_patches_are_left_out_unless_they_are_asked_for(tmp_path, flag):
    rows = metadata(version_2(tmp_path), **{flag: "True"})
    patches = find_patches(tmp_path)
    pairs, [item] = pair_patches(patches, rows)
    assert len(pairs) == 2 and item.reason.startswith(flag) and not item.unusable
    assert len(pair_patches(patches, rows, cloudy=True)[0]) == 3


def test_patches_without_a_partner_are_listed_with_the_reason(tmp_path):
    root = version_2(tmp_path)
    rows = metadata(root, s1_name="S1A_gone")
    write_patch(root / "S2A_MSIL2A_20180101T000000_N9999_R001_T31AAA_00_00", of("s2"))
    _, skipped = pair_patches(find_patches(root), rows)
    assert [item.reason.split(":")[0] for item in skipped] == ["its radar patch is missing", "no radar patch"]


def test_metadata_without_the_names_of_the_patches_are_an_error(tmp_path):
    (tmp_path / "metadata.csv").write_text("patch,split\na,train\n")
    with pytest.raises(UserError, match=r"metadata.csv has no column patch_id; it has patch, split"):
        read_metadata(tmp_path)
    assert read_metadata(tmp_path / "elsewhere") == {}


def test_a_parquet_table_without_its_reader_is_an_error_with_the_fix(tmp_path, monkeypatch):
    (tmp_path / "metadata.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"metadata.parquet needs pyarrow: .* or save the table as metadata.csv"):
        read_metadata(tmp_path)


def test_a_folder_without_both_kinds_of_patches_is_an_error_that_counts_them(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_patches(tmp_path / "absent")
    version_1(tmp_path)
    with pytest.raises(UserError, match=r"3 optical patches .* and 0 radar patches"):
        find_patches(tmp_path / "BigEarthNet-v1.0")
