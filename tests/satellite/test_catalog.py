"""The sources of tiles: the embedded tiles and a folder, as `conf/data` creates them."""

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.satellite.catalog import embedded, tiles
from partoken.satellite.tiles.tile import MISSING
from tests.satellite.made_tiles import write_scenes


@pytest.fixture(scope="module")
def data():
    module = embedded()
    module.setup("fit")
    return module


def test_the_embedded_splits_are_the_documented_ones_and_share_no_scene(data):
    infos = {split: data.dataset(split).infos for split in ("train", "val", "test")}
    assert {split: len(members) for split, members in infos.items()} == {"train": 23, "val": 2, "test": 3}
    scenes = [{info.scene for info in members} for members in infos.values()]
    assert [len(names) for names in scenes] == [6, 2, 3] and len(set.union(*scenes)) == 11
    assert data.report()["left_out"]["without_split"] == 6, "cloudy and snowy tiles"


def test_the_embedded_tiles_are_land_as_the_satellites_see_it(data):
    store = data.collection.store
    assert len(store) == 34 and {info.shape for info in store.infos} == {(120, 120)}
    for tile in store.read(range(34)):
        assert not (tile.s1 == MISSING).any() and not (tile.s2 == MISSING).any()
        vv, vh = np.median(tile.s1, axis=(1, 2)) * 0.01
        assert -26 < vv < 0 and vh < vv, "cross polarisation is weaker"
        assert 1 <= tile.info.month <= 12 and tile.s2.min() >= 0 and tile.s2.max() < 15_000
    green = [tile for tile in store.read(range(34)) if tile.info.month in (5, 6, 7)]
    ndvi = [(t.s2[3].mean() - t.s2[2].mean()) / (t.s2[3].mean() + t.s2[2].mean()) for t in green]
    assert np.median(ndvi) > 0.6, "fields in early summer are green"


def test_splits_by_scene_use_all_embedded_tiles():
    data = embedded(split="scene")
    data.setup("fit")
    assert data.report()["tiles_used"] == 34


def test_a_folder_of_tiles_becomes_a_data_module(tmp_path):
    data = tiles(str(write_scenes(tmp_path, a=3, b=2, c=2)), batch_size=2, seed=1)
    settings = data.settings()
    assert settings["source"]["name"] == "tiles" and settings["num_train_tiles"] == 3
    assert set(settings["baselines"]) == {"median", "ridge"}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"s1_units": "lineer"}, "data.s1_units=lineer: choose db or linear. Did you mean linear"),
        ({"s2_offset": 10}, "data.s2_offset=10"),
        ({"memory_limit_mb": -1}, "data.memory_limit_mb=-1"),
        ({"crop": 3}, "data.crop=3"),
    ],
    ids=str,
)
def test_a_wrong_option_is_an_error_before_anything_is_read(options, message):
    with pytest.raises(UserError, match=message):
        tiles("absent", **options)
