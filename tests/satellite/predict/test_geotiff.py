"""Predictions for GeoTIFF radar; they need rasterio, an optional package."""

import sys

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.satellite.predict import TilePredictor
from partoken.satellite.tiles.tile import pack_radar
from tests.disks import room_for
from tests.satellite.made_tiles import made_bands, write_tile
from tests.satellite.predict.saved_network import save_stage1

NO_DATA = -9999.0
PLACE = (10.0, 0.0, 399_960.0, 0.0, -10.0, 5_800_020.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_stage1(tmp_path_factory.mktemp("model") / "best.ckpt")


@pytest.fixture
def rasterio():
    return pytest.importorskip("rasterio", reason="pip install 'partoken[satellite]'")


def radar(height=90, width=140, seed=0):
    bands = made_bands(seed, (height, width))
    return np.stack([bands["s1_vv"], bands["s1_vh"]])


def write(rasterio, path, values, descriptions=None, place=PLACE):
    height, width = values.shape[1:]
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=len(values), dtype=values.dtype,
        nodata=NO_DATA, crs="EPSG:32633", transform=rasterio.Affine(*place),
    ) as file:  # fmt: skip
        file.write(values)
        if descriptions:
            file.descriptions = descriptions
    return path


def test_without_rasterio_a_geotiff_names_the_extra(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    (tmp_path / "a.tif").touch()
    with pytest.raises(UserError, match=r"pip install 'partoken\[satellite\]'"):
        TilePredictor(checkpoint, "cpu").write([tmp_path / "a.tif"], tmp_path / "out")


def test_the_prediction_has_the_grid_the_projection_and_the_no_data_of_the_radar(checkpoint, tmp_path, rasterio):
    values = radar()
    values[0, :30, :20] = NO_DATA
    write(rasterio, tmp_path / "scene.tif", values)
    predictor = TilePredictor(checkpoint, "cpu")
    predictor.window = 64
    assert predictor.write([tmp_path / "scene.tif"], tmp_path / "out") == 1
    with rasterio.open(tmp_path / "out/scene.tif") as file, np.load(tmp_path / "out/scene.npz") as arrays:
        assert (file.shape, file.crs.to_epsg(), tuple(file.transform)[:6]) == ((90, 140), 32633, PLACE)
        assert (file.nodata, file.dtypes, file.descriptions) == (0, ("uint16",) * 4, ("B2", "B3", "B4", "B8"))
        counts = file.read()
        for band, found in zip(("s2_b2", "s2_b3", "s2_b4", "s2_b8"), counts, strict=True):
            np.testing.assert_array_equal(arrays[band], found)
        assert tuple(arrays["transform"]) == PLACE
    missing = np.zeros((90, 140), bool)
    missing[:30, :20] = True
    np.testing.assert_array_equal((counts == 0).all(0), missing)
    np.testing.assert_array_equal((counts == 0).any(0), missing)
    assert not list((tmp_path / "out").glob(".*")), "no partial file is left"


@pytest.mark.parametrize("missing", ["all", "half", "the end"])
def test_a_full_disk_leaves_no_part_of_a_prediction(checkpoint, tmp_path, rasterio, missing):
    write(rasterio, tmp_path / "scene.tif", radar())
    predictor = TilePredictor(checkpoint, "cpu")
    predictor.write([tmp_path / "scene.tif"], tmp_path / "whole")
    size = (tmp_path / "whole/scene.tif").stat().st_size
    room = {"all": 20, "half": size // 2, "the end": size - 5}[missing]
    with room_for(room), pytest.raises(UserError, match=r"no space left on the disk of .*scene"):
        predictor.write([tmp_path / "scene.tif"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_two_files_and_named_bands_give_the_same_as_one_file(checkpoint, tmp_path, rasterio):
    values = radar(40, 50)
    write(rasterio, tmp_path / "one.tif", values)
    write(rasterio, tmp_path / "two_VV.tif", values[:1])
    write(rasterio, tmp_path / "two_VH.tif", values[1:])
    angle = np.full((1, 40, 50), 38.0, np.float32)
    write(rasterio, tmp_path / "named.tif", np.concatenate([angle, values[::-1]]), ("angle", "VH", "VV"))
    predictor = TilePredictor(checkpoint, "cpu")
    assert predictor.write([tmp_path], tmp_path / "out") == 3
    read = {}
    for name in ("one", "two", "named"):
        with rasterio.open(tmp_path / f"out/{name}.tif") as file:
            read[name] = file.read()
    expected = predictor.answer(pack_radar(values))
    assert np.abs(read["one"] / 10_000 - expected.clip(1e-4)).max() < 1e-4
    np.testing.assert_array_equal(read["two"], read["one"])
    np.testing.assert_array_equal(read["named"], read["one"])


def test_geotiffs_that_cannot_be_predicted_are_skipped(checkpoint, tmp_path, rasterio):
    values = radar(40, 50)
    folder = tmp_path / "in"
    folder.mkdir()
    write(rasterio, folder / "good.tif", values)
    write(rasterio, folder / "three.tif", np.concatenate([values, values[:1]]))
    write(rasterio, folder / "raw.tif", (10 ** (values / 20) * 1000).astype(np.uint16).astype(np.float32))
    write(rasterio, folder / "empty.tif", np.full_like(values, NO_DATA))
    write(rasterio, folder / "shifted_VV.tif", values[:1])
    write(rasterio, folder / "shifted_VH.tif", values[1:], place=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
    (folder / "damaged.tif").write_bytes(b"II*\0")
    predictor = TilePredictor(checkpoint, "cpu")
    assert predictor.write([folder], tmp_path / "out") == 1
    reasons = {item.file.rpartition("/")[2]: item.reason for item in predictor.skipped}
    assert "3 bands without the descriptions VV and VH" in reasons["three.tif"]
    assert "as in raw numbers" in reasons["raw.tif"]
    assert reasons["empty.tif"] == "the radar has no valid pixel"
    assert "VV and VH lie on different grids" in reasons["shifted_VH.tif"]
    assert "damaged.tif is damaged" in reasons["damaged.tif"]
    assert {path.name for path in (tmp_path / "out").glob("*.tif")} == {"good.tif"}


def test_an_image_without_a_place_stays_without_one(checkpoint, tmp_path, rasterio):
    values = radar(40, 50)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", height=40, width=50, count=2, dtype="float32"
        ) as file:
            file.write(values)
    assert TilePredictor(checkpoint, "cpu").write([tmp_path / "a.tif"], tmp_path / "out") == 1


def test_a_tile_made_of_geotiffs_becomes_a_geotiff_again(checkpoint, tmp_path, rasterio):
    write_tile(tmp_path / "a.npz", made_bands(), crs="EPSG:32633", transform=np.array(PLACE))
    assert TilePredictor(checkpoint, "cpu").write([tmp_path / "a.npz"], tmp_path / "out") == 1
    with rasterio.open(tmp_path / "out/a.tif") as file:
        assert (file.crs.to_epsg(), tuple(file.transform)[:6]) == (32633, PLACE)
