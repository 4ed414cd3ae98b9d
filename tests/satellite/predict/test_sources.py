"""Finding radar images by name."""

from pathlib import Path

import pytest

from partoken.satellite.predict.sources import find_sources


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def named(found, root):
    return {source.name: [str(file.relative_to(root)) for file in source.files] for source in found.sources}


@pytest.mark.parametrize(
    ("vv", "vh", "name"),
    [("a_VV.tif", "a_VH.tif", "a"), ("b-vv.tiff", "b-vh.tiff", "b"), ("cVV.tif", "cVH.tif", "c")],
)
def test_two_files_of_one_band_are_one_image_with_vv_first(tmp_path, vv, vh, name):
    touch(tmp_path, vv, vh)
    assert named(find_sources([tmp_path]), tmp_path) == {name: [vv, vh]}
    assert named(find_sources([tmp_path / vh]), tmp_path) == {name: [vv, vh]}, "one of them is enough"
    assert named(find_sources([tmp_path / vh, tmp_path / vv]), tmp_path) == {name: [vv, vh]}, "and both are one"


def test_a_folder_gives_its_images_at_any_depth_with_their_places(tmp_path):
    touch(tmp_path, "north/1.npz", "south/1.npz", "scene.tif", "notes.txt", ".hidden.npz", ".cache/2.npz")
    found = find_sources([tmp_path])
    assert [source.name for source in found.sources] == ["scene", "north/1", "south/1"]
    assert not found.skipped


def test_a_pattern_gives_the_files_that_match(tmp_path):
    touch(tmp_path, "a_1.npz", "a_2.npz", "b_1.npz")
    assert [source.name for source in find_sources([str(tmp_path / "a_*.npz")]).sources] == ["a_1", "a_2"]


def test_what_is_no_image_is_skipped_with_a_reason(tmp_path):
    touch(tmp_path, "lonely_VV.tif", "x/tile.npz", "y/tile.npz", "empty/notes.txt")
    paths = ["lonely_VV.tif", "x/tile.npz", "y/tile.npz", "empty", "*.cif"]
    found = find_sources(tmp_path / path for path in paths)
    assert [source.name for source in found.sources] == ["tile"]
    reasons = {Path(item.file).name: item.reason for item in found.skipped}
    assert reasons["lonely_VV.tif"] == "its name ends in VV, and no VH file is beside it"
    assert "would have the name of those of" in reasons["tile.npz"]
    assert reasons["empty"] == "the folder holds no .npz, .tif or .tiff file"
    assert reasons["*.cif"] == "no file matches"
