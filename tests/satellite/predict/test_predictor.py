"""Predictions for NPZ tiles, and what `partoken predict` says of this domain's checkpoints."""

import csv

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from partoken.cli import main
from partoken.errors import UserError
from partoken.satellite.model import backbone
from partoken.satellite.pictures import true_colour
from partoken.satellite.predict import TilePredictor
from partoken.satellite.predict.predictor import PredictOptions
from partoken.satellite.tiles.reading import read_tile
from partoken.satellite.tiles.tile import OPTICAL_BANDS
from tests.satellite.made_tiles import made_bands, write_tile
from tests.satellite.predict.saved_network import save_stage1


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_stage1(tmp_path_factory.mktemp("model") / "best.ckpt")


def radar_of(bands):
    return {name: values for name, values in bands.items() if name.startswith("s1")}


def skipped(out):
    with open(out / "predictions.skipped.csv") as file:
        return {row["file"].rpartition("/")[2]: row["reason"] for row in csv.DictReader(file)}


def test_a_tile_becomes_counts_a_mask_and_a_picture(checkpoint, tmp_path, capsys):
    bands = radar_of(made_bands(size=(24, 40)))
    bands["s1_vv"][3:5, 7] = np.nan
    write_tile(tmp_path / "north.npz", bands, month=6, biome_code=3)
    out = tmp_path / "out"
    assert main(["predict", str(checkpoint), str(tmp_path / "north.npz"), "--out", str(out), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"1 images predicted, see {out}\n"
    assert {path.name for path in out.iterdir()} == {"north.npz", "north.png"}

    missing = np.zeros((24, 40), bool)
    missing[3:5, 7] = True
    with np.load(out / "north.npz") as file:
        found = dict(file)
    np.testing.assert_array_equal(found["mask"], ~missing)
    expected = TilePredictor(checkpoint, "cpu").answer(read_tile(tmp_path / "north.npz", optical=False).s1)
    for band, values in zip(OPTICAL_BANDS, expected, strict=True):
        assert found[band].dtype == np.uint16
        assert (found[band][missing] == 0).all() and (found[band][~missing] >= 1).all()
        assert np.abs(found[band][~missing] / 10_000 - values[~missing].clip(0.0001)).max() < 1e-4
    assert (found["month"], found["biome_code"], found["s2_offset"]) == (6, 3, 0)

    picture = imread(out / "north.png")
    np.testing.assert_array_equal(picture[..., 3] == 0, missing)
    colour = true_colour(np.stack([found[band] for band in OPTICAL_BANDS]) / 10_000)
    assert np.abs(picture[..., :3] - colour)[~missing].max() < 0.01


def test_a_large_tile_is_predicted_in_windows(checkpoint, tmp_path, monkeypatch):
    write_tile(tmp_path / "large.npz", radar_of(made_bands(size=(80, 150))))
    predictor = TilePredictor(checkpoint, "cpu", PredictOptions(window=64))
    shapes = []
    answer = predictor.answer
    monkeypatch.setattr(predictor, "answer", lambda radar, *facts: shapes.append(radar.shape) or answer(radar, *facts))
    assert predictor.write([tmp_path / "large.npz"], tmp_path / "out") == 1
    assert len(shapes) > 6 and max(max(shape) for shape in shapes) < 80
    with np.load(tmp_path / "out/large.npz") as file:
        assert file["s2_b8"].shape == (80, 150) and file["mask"].all()


def test_optical_bands_of_a_tile_are_not_read(checkpoint, tmp_path):
    write_tile(tmp_path / "a.npz", {**made_bands(), "s2_b2": np.full((3, 3), np.nan)})
    assert TilePredictor(checkpoint, "cpu").write([tmp_path / "a.npz"], tmp_path / "out") == 1


def test_options_fill_what_a_tile_does_not_state(checkpoint, tmp_path):
    write_tile(tmp_path / "in/a.npz", radar_of(made_bands()), month=2)
    write_tile(tmp_path / "in/b.npz", radar_of(made_bands()))
    options = PredictOptions(month=7, biome=4)
    TilePredictor(checkpoint, "cpu", options).write([tmp_path / "in"], tmp_path / "out")
    facts = {}
    for name in ("a", "b"):
        with np.load(tmp_path / f"out/{name}.npz") as file:
            facts[name] = int(file["month"]), int(file["biome_code"])
    assert facts == {"a": (2, 4), "b": (7, 4)}


def test_what_cannot_be_predicted_is_listed_with_its_reason(checkpoint, tmp_path, capsys):
    folder = tmp_path / "in"
    good = radar_of(made_bands())
    write_tile(folder / "good.npz", good)
    write_tile(folder / "month.npz", good, month=13)
    write_tile(folder / "linear.npz", {name: 10 ** (values / 10) for name, values in good.items()})
    write_tile(folder / "empty.npz", {name: np.full((16, 16), np.nan) for name in good})
    write_tile(folder / "one_band.npz", {"s1_vv": good["s1_vv"]})
    (folder / "damaged.npz").write_bytes((folder / "good.npz").read_bytes()[:200])
    out = tmp_path / "out"
    assert main(["predict", str(checkpoint), str(folder), "--out", str(out), "--device", "cpu"]) == 0
    assert "1 images predicted" in (printed := capsys.readouterr().out) and "5 files skipped" in printed
    reasons = skipped(out)
    assert reasons["month.npz"] == "month=13: must be 1 to 12"
    assert "in a prediction --s1-units linear" in reasons["linear.npz"]
    assert reasons["empty.npz"] == "the radar has no valid pixel"
    assert "no array s1_vh" in reasons["one_band.npz"]
    assert "damaged" in reasons["damaged.npz"]

    (folder / "good.npz").rename(folder / "linear.npz")
    assert main(["predict", str(checkpoint), str(folder / "linear.npz"), "--out", str(out), "--device", "cpu"]) == 0
    assert not (out / "predictions.skipped.csv").exists(), "the list of an earlier prediction is gone"


def test_linear_power_is_predicted_when_asked(checkpoint, tmp_path):
    decibel = radar_of(made_bands())
    write_tile(tmp_path / "db.npz", decibel)
    write_tile(tmp_path / "linear.npz", {name: 10 ** (values / 10) for name, values in decibel.items()})
    TilePredictor(checkpoint, "cpu").write([tmp_path / "db.npz"], tmp_path / "out")
    TilePredictor(checkpoint, "cpu", PredictOptions(s1_units="linear")).write(
        [tmp_path / "linear.npz"], tmp_path / "out"
    )
    with np.load(tmp_path / "out/db.npz") as first, np.load(tmp_path / "out/linear.npz") as second:
        assert np.abs(first["s2_b8"].astype(int) - second["s2_b8"]).max() <= 20, "radar is kept in steps of 0.01 dB"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--month", "13"], "--month 13: must be 1 to 12"),
        (["--biome", "16"], "--biome 16: must be 0 to 15"),
        (["--window", "100"], "--window 100: must be a multiple of 16, at least 64"),
        (["--out", "table.csv"], "--out table.csv: must be a folder"),
        (["--out", "."], "--out .: the prediction would replace a.npz; choose another folder"),
        (["--device", "abacus"], "device=abacus: no such device"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_option_is_one_message(checkpoint, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    write_tile(tmp_path / "a.npz", radar_of(made_bands()))
    assert main(["predict", str(checkpoint), "a.npz", "--device", "cpu", "--out", "out", *more]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_path_without_any_image_is_one_message(checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"no radar image could be predicted(.|\n)*missing\.npz: no such file"):
        TilePredictor(checkpoint, "cpu").write([tmp_path / "missing.npz"], tmp_path / "out")


def test_stage_1_says_that_it_ignores_the_month(checkpoint, tmp_path, capsys):
    write_tile(tmp_path / "a.npz", radar_of(made_bands()))
    words = ["predict", str(checkpoint), str(tmp_path / "a.npz"), "--out", str(tmp_path / "out"), "--month", "5"]
    assert main([*words, "--device", "cpu"]) == 0
    assert "is of stage 1, which ignores --month and --biome" in capsys.readouterr().out


def test_the_checkpoint_of_another_domain_or_a_damaged_one_is_one_message(checkpoint, tmp_path):
    other, damaged = tmp_path / "other.ckpt", tmp_path / "damaged.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"data": {"class_names": ["a"]}}}, other)
    damaged.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(UserError, match=r"other\.ckpt contains no satellite network: its hyper-parameters are"):
        TilePredictor(other)
    with pytest.raises(UserError, match=r"damaged\.ckpt cannot be read as a checkpoint"):
        TilePredictor(damaged)


def test_another_backbone_is_predicted_in_windows_of_the_training_tiles(tmp_path, monkeypatch):
    path = save_stage1(tmp_path / "best.ckpt", source={"tile_size": [120, 130], "s1_units": "db"})
    assert TilePredictor(path, "cpu").window == 512
    monkeypatch.setattr("partoken.satellite.predict.predictor.UNetBackbone", backbone.FileBackbone)
    assert TilePredictor(path, "cpu").window == 112
