"""The command, and reading real GeoTIFF files where rasterio is installed."""

import sys

import numpy as np
import pytest

import partoken.satellite.convert.__main__ as command
from partoken.satellite.convert.__main__ import main
from partoken.satellite.convert.geotiff import read_geotiff
from partoken.satellite.dataset.folder import read_folder
from partoken.satellite.tiles.reading import Units
from partoken.satellite.tiles.tile import BadTile
from tests.satellite.convert.patches import version_2

TRANSFORM = (10.0, 0.0, 600000.0, 0.0, -10.0, 5300040.0)


def test_without_rasterio_the_command_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert main([str(version_2(tmp_path / "source")), str(tmp_path / "out")]) == 2
    assert "pip install 'partoken[satellite]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_wrong_folder_is_named_before_a_missing_package(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert main([str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "none: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--limit=0", "--workers=-1"])
def test_a_wrong_number_is_an_error_that_names_the_option(tmp_path, capsys, option):
    assert main([str(tmp_path), str(tmp_path / "out"), option]) == 2
    assert option.split("=")[0] in capsys.readouterr().err


def test_an_interrupt_says_how_to_continue(tmp_path, monkeypatch, capsys):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "convert_folder", stop)
    assert main([str(tmp_path), str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "stopped; the same command continues\n"


@pytest.fixture
def rasterio():
    return pytest.importorskip("rasterio", reason="rasterio is an optional package: pip install 'partoken[satellite]'")


def write_geotiff(rasterio, path, values, nodata=None):
    """Writes a band with a place on the ground."""
    height, width = values.shape
    profile = dict(driver="GTiff", height=height, width=width, count=1, dtype=values.dtype, nodata=nodata)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=rasterio.Affine(*TRANSFORM), **profile) as file:
        file.write(values, 1)


def test_a_geotiff_is_read_with_its_place_and_its_missing_pixels(rasterio, tmp_path):
    values = np.arange(12, dtype=np.uint16).reshape(3, 4)
    write_geotiff(rasterio, tmp_path / "a.tif", values, nodata=7)
    raster = read_geotiff(tmp_path / "a.tif")
    assert np.array_equal(raster.values, np.where(values == 7, 0, values))
    assert raster.crs == "EPSG:32633" and raster.transform == TRANSFORM


def test_a_damaged_or_missing_geotiff_has_a_reason(rasterio, tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0 cut off")
    with pytest.raises(BadTile, match=r"a.tif is damaged"):
        read_geotiff(tmp_path / "a.tif")
    with pytest.raises(BadTile, match=r"no file b.tif"):
        read_geotiff(tmp_path / "b.tif")


def test_the_command_converts_geotiff_files(rasterio, tmp_path, capsys):
    source = version_2(tmp_path / "source", baseline="N0500", offset=1000)
    for path in source.rglob("*.tif"):
        write_geotiff(rasterio, path, np.load(path))
    assert main([str(source), str(tmp_path / "out"), "--workers=0"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("3 tiles written, 0 were there, 0 not usable\n")
    assert "optical offset 1000 removed from 3 tiles" in output
    found = read_folder(tmp_path / "out", Units())
    assert len(found.store) == 3 and found.skipped == []
    with np.load(tmp_path / "out" / found.store.infos[0].file) as file:
        assert file["crs"] == "EPSG:32633" and tuple(file["transform"]) == TRANSFORM
    assert main([str(source), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("0 tiles written, 3 were there")
