"""Reading a tile from its files: facts from both, and a reason for everything that cannot be used."""

import os

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.satellite.tiles.reading import Units, read_tile, split_name
from partoken.satellite.tiles.tile import MISSING, BadTile
from tests.satellite.made_tiles import made_bands, write_tile


def test_the_pixels_of_a_tile_are_those_of_its_file(tmp_path):
    bands = made_bands(size=(16, 24))
    tile = read_tile(write_tile(tmp_path / "field_3_4.npz", bands))
    assert tile.s1.shape == (2, 16, 24) and tile.s2.shape == (4, 16, 24)
    np.testing.assert_allclose(tile.s1[1] * 0.01, bands["s1_vh"], atol=0.00501)
    assert np.array_equal(tile.s2[3], bands["s2_b8"])
    info = tile.info
    assert (info.id, info.scene, info.shape, info.file) == ("field_3_4", "field", (16, 24), "field_3_4.npz")
    assert (info.split, info.month, info.biome, info.offset, info.offset_stated) == ("", 0, -1, 0, False)


def test_facts_come_from_either_file(tmp_path):
    facts = {"split": "validation", "month": 7, "labels": ["forest"]}
    path = write_tile(tmp_path / "a.npz", facts=facts, scene="north", biome_code=np.uint8(0), month=np.float32(7))
    info = read_tile(path).info
    assert (info.split, info.month, info.scene, info.biome) == ("val", 7, "north", 0)


def without(band):
    return {name: values for name, values in made_bands().items() if name != band}


CASES = {
    "missing band": (without("s2_b8"), {}, r"no array s2_b8"),
    "misspelt band": ({**without("s2_b8"), "s2_b08": made_bands()["s2_b8"]}, {}, "Did you mean s2_b08"),
    "shapes differ": ({**made_bands(), "s2_b4": np.ones((8, 16))}, {}, "bands differ in shape: .* s2_b4 8 x 16"),
    "not 2-D": ({**made_bands(), "s1_vv": np.ones((1, 16, 16))}, {}, "s1_vv has the shape 1 x 16 x 16"),
    "too small": (made_bands(size=8), {}, "8 x 8 pixels: at least 16 x 16"),
    "text": ({**made_bands(), "s1_vv": np.full((16, 16), "x")}, {}, "s1_vv holds no numbers"),
    "all radar NaN": ({**made_bands(), "s1_vv": np.full((16, 16), np.nan)}, {}, "every radar pixel is missing"),
    "all optical NaN": ({**made_bands(), "s2_b3": np.full((16, 16), np.nan)}, {}, "every optical pixel is missing"),
    "month 13": (made_bands(), {"month": 13}, "month=13: must be 1 to 12"),
    "month 0": (made_bands(), {"month": 0}, "month=0: must be 1 to 12"),
    "half a month": (made_bands(), {"month": 6.5}, "month=6.5"),
    "month in words": (made_bands(), {"month": "June"}, "month=June: must be 1 to 12"),
    "two months": (made_bands(), {"month": [6, 7]}, "month has the shape 2"),
    "biome 16": (made_bands(), {"biome_code": 16}, "biome_code=16: must be 0 to 15"),
    "split": (made_bands(), {"split": "holdout"}, "split=holdout: must be train, val or test"),
    "offset 500": (made_bands(), {"s2_offset": 500}, "s2_offset=500: must be 0 or 1000"),
    "wrong offset": (made_bands(), {"s2_offset": 1000}, "carry no offset of 1000"),
}


@pytest.mark.parametrize("bands, more, message", CASES.values(), ids=CASES.keys())
def test_a_tile_that_cannot_be_used_has_a_reason(tmp_path, bands, more, message):
    with pytest.raises(BadTile, match=message):
        read_tile(write_tile(tmp_path / "a.npz", bands, **more))


@pytest.mark.parametrize(
    "content", [b"", b"no archive", b"PK\x03\x04 cut off", b"\x93NUMPY"], ids=["empty", "text", "zip", "npy"]
)
def test_a_damaged_file_has_a_reason(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(BadTile, match="damaged, or not an NPZ file"):
        read_tile(tmp_path / "a.npz")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_damaged(tmp_path, kept):
    path = write_tile(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(BadTile, match="damaged"):
        read_tile(path)


def test_a_changed_byte_of_a_band_is_found(tmp_path):
    path = write_tile(tmp_path / "a.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadTile, match="damaged"):
        read_tile(path)


def test_arrays_of_python_objects_are_never_loaded(tmp_path):
    bands = {**made_bands(), "s1_vv": np.array([[object()]])}
    with pytest.raises(BadTile, match="damaged"):
        read_tile(write_tile(tmp_path / "a.npz", bands))


def test_a_single_array_and_a_missing_file_have_a_reason(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, np.ones((16, 16)))
    with pytest.raises(BadTile, match="holds a single array"):
        read_tile(tmp_path / "a.npz")
    with pytest.raises(BadTile, match="no such file"):
        read_tile(tmp_path / "b.npz")


@pytest.mark.parametrize(
    "text, message",
    [("{", "damaged"), ("[1]", "not a mapping"), ('{"month": 7}', "month is 6 in the NPZ .* 7 in the JSON")],
)
def test_a_wrong_json_file_has_a_reason(tmp_path, text, message):
    path = write_tile(tmp_path / "a.npz", month=6)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(BadTile, match=message):
        read_tile(path)


def test_a_pipe_has_a_reason_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    path = write_tile(tmp_path / "b.npz")
    os.mkfifo(tmp_path / "b.json")
    for tile in (tmp_path / "a.npz", path):
        with pytest.raises(BadTile, match="damaged"):
            read_tile(tile)


def shifted(offset=1000):
    """Bands whose optical counts carry an offset."""
    return {name: values + offset if name.startswith("s2") else values for name, values in made_bands().items()}


def test_an_offset_is_subtracted_once_whoever_states_it(tmp_path):
    plain = read_tile(write_tile(tmp_path / "plain.npz", made_bands()))
    stated = read_tile(write_tile(tmp_path / "stated.npz", shifted(), s2_offset=1000))
    assumed = read_tile(write_tile(tmp_path / "assumed.npz", shifted()), units=Units(s2_offset=1000))
    assert np.array_equal(plain.s2, stated.s2) and np.array_equal(plain.s2, assumed.s2)
    assert [tile.info.offset for tile in (plain, stated, assumed)] == [0, 1000, 1000]
    assert [tile.info.offset_stated for tile in (plain, stated, assumed)] == [False, True, False]


def test_a_tile_that_states_its_offset_overrides_the_option(tmp_path):
    path = write_tile(tmp_path / "a.npz", s2_offset=0)
    assert read_tile(path, units=Units(s2_offset=1000)).info.offset == 0


def test_linear_power_is_converted_when_asked(tmp_path):
    bands = made_bands()
    power = {name: 10 ** (values / 10) if name.startswith("s1") else values for name, values in bands.items()}
    tile = read_tile(write_tile(tmp_path / "a.npz", power), units=Units(s1_units="linear"))
    np.testing.assert_allclose(tile.s1[0] * 0.01, bands["s1_vv"], atol=0.006)


def test_a_tile_without_optical_bands_is_enough_for_a_prediction(tmp_path):
    radar = {name: values for name, values in made_bands().items() if name.startswith("s1")}
    path = write_tile(tmp_path / "a.npz", radar)
    tile = read_tile(path, optical=False)
    assert (tile.s2 == MISSING).all() and tile.s2.shape == (4, 16, 16) and tile.info.missing_radar == 0
    with pytest.raises(BadTile, match="no array s2_b2"):
        read_tile(path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"s1_units": "decibel"}, "data.s1_units=decibel: choose db or linear."),
        ({"s2_offset": 100}, "data.s2_offset=100: choose 0, 1000 or null"),
        ({"s2_offset": True}, "data.s2_offset=True"),
    ],
    ids=str,
)
def test_wrong_units_are_an_error_that_names_the_key(options, message):
    with pytest.raises(UserError, match=message):
        Units(**options)


def test_splits_have_several_names():
    assert [split_name(name) for name in ("train", " VALID", "dev", "Testing")] == ["train", "val", "val", "test"]
