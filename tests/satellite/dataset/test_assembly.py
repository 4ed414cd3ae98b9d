"""From read tiles to splits: sizes, offsets, given splits and splits by scene."""

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.satellite.dataset.assembly import build_datasets, check_offsets, select_tiles, wrong_sizes
from partoken.satellite.dataset.folder import TileCollection
from partoken.satellite.dataset.options import TileOptions
from partoken.satellite.tiles.store import TileStore
from partoken.satellite.tiles.tile import TileInfo, make_tile


def collection(*infos, size=16):
    store = TileStore()
    for info in infos:
        side = size if info.shape == (0, 0) else info.shape[0]
        store.add(make_tile(info, np.full((2, side, side), -900, np.int16), np.full((4, side, side), 500, np.int16)))
    return TileCollection(store, num_inputs=len(store))


def info(name, scene="", split="", size=0, **more):
    return TileInfo(name, scene or name, (size, size), file=f"{name}.npz", split=split, **more)


def chosen(found, options=None, left_out=()):
    selection = select_tiles(found, left_out, options or TileOptions(), seed=0)
    names = {row: tile.id for row, tile in enumerate(found.store.infos)}
    return {names[row]: int(split) for row, split in zip(selection.rows, selection.splits, strict=True)}, selection


def test_given_splits_are_used_and_tiles_without_one_are_left_out():
    found = collection(info("a", split="train"), info("b", split="val"), info("c", split="test"), info("d"))
    splits, selection = chosen(found)
    assert splits == {"a": 0, "b": 1, "c": 2} and selection.kind == "given" and selection.without_split == 1


def test_named_scenes_and_the_option_override_given_splits():
    found = collection(*(info(f"{scene}{i}", scene, split="train") for scene in "abcd" for i in range(2)))
    splits, selection = chosen(found, TileOptions(test_scenes=["b"], val_scenes=["c"]))
    assert selection.kind == "scene"
    assert splits == {"a0": 0, "a1": 0, "b0": 2, "b1": 2, "c0": 1, "c1": 1, "d0": 0, "d1": 0}
    assert set(chosen(found, TileOptions(split="scene"))[0].values()) == {0, 1, 2}


def test_given_splits_that_do_not_exist_are_an_error():
    with pytest.raises(UserError, match=r"data.split=given: no tile has a split"):
        chosen(collection(info("a")), TileOptions(split="given"))


def test_tiles_of_another_size_are_left_out_with_the_reason():
    found = collection(info("a", size=16), info("b", size=16), info("c", size=24))
    [item] = wrong_sizes(found.store, None)
    assert (item.id, item.reason) == ("c", "24 x 24 pixels, but most tiles have 16 x 16; set data.crop")
    assert wrong_sizes(found.store, 16) == []
    assert [item.id for item in wrong_sizes(found.store, 20)] == ["a", "b"]
    assert "c" not in chosen(found, left_out=[item])[0]


def test_a_limit_is_counted():
    found = collection(*(info(f"{scene}{i}", scene) for scene in "abcdef" for i in range(5)))
    splits, selection = chosen(found, TileOptions(limit=9))
    assert 8 <= len(splits) <= 10 and selection.over_limit == 30 - len(splits)


def test_an_empty_split_is_an_error_that_counts_tiles_and_scenes():
    found = collection(info("a0", "a"), info("a1", "a"), info("b"))
    with pytest.raises(UserError, match=r"the split test has no tile \(tiles: train 2, val 1, test 0; scenes: 2\)"):
        build_datasets(found.store, chosen(found)[1], TileOptions())


def test_no_tile_at_all_is_an_error_too():
    found = collection()
    with pytest.raises(UserError, match="the split train and val and test has no tile"):
        build_datasets(found.store, chosen(found)[1], TileOptions())


def test_a_mixture_of_tiles_with_and_without_an_offset_is_refused_with_two_names():
    mixed = [info("a", offset=0, offset_stated=True), info("b", offset=1000, offset_stated=True)]
    with pytest.raises(UserError, match=r"b.npz carries the optical offset 1000 and a.npz does not"):
        check_offsets(mixed, None)
    for infos in ([mixed[0]] * 3, [mixed[1]] * 3, [info("c")] * 3):
        check_offsets(infos, None)


def test_tiles_that_state_nothing_beside_tiles_that_do_need_the_option():
    infos = [info("a", offset=0, offset_stated=True), info("b")]
    with pytest.raises(UserError, match=r"a.npz states its optical offset and b.npz does not: set data.s2_offset"):
        check_offsets(infos, None)
    check_offsets(infos, 0)
