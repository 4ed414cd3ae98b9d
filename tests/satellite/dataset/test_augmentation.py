"""Flips, quarter turns and crops: exact, the same for both sensors, and reproducible."""

import numpy as np
import pytest

from partoken.satellite.dataset.augmentation import augment, crop_centre, symmetry
from partoken.satellite.tiles.tile import MISSING, TileInfo, make_tile


def numbered(height=16, width=16, name="tile"):
    """A tile whose pixels are all different and the same in every band."""
    pixels = np.arange(height * width, dtype=np.int16).reshape(height, width)
    return make_tile(TileInfo(name, name, (0, 0)), np.stack([pixels] * 2), np.stack([pixels] * 4))


def test_the_eight_symmetries_are_different_and_keep_every_pixel():
    pixels = np.arange(9).reshape(3, 3)
    seen = [symmetry(pixels, number) for number in range(8)]
    assert len({array.tobytes() for array in seen}) == 8
    assert all(sorted(array.ravel()) == list(range(9)) for array in seen)
    assert np.array_equal(seen[0], pixels)
    assert np.array_equal(seen[4], pixels[:, ::-1])
    assert np.array_equal(symmetry(symmetry(pixels, 1), 3), pixels)


def test_radar_and_optical_pixels_move_together():
    for number in range(20):
        tile = augment(numbered(20, 24), seed=0, pass_number=number, crop=16)
        assert tile.s1.shape == (2, 16, 16) and tile.info.shape == (16, 16)
        assert np.array_equal(tile.s1[0], tile.s2[3])


def test_the_change_depends_on_seed_pass_and_name_only():
    def shown(seed=0, pass_number=0, name="tile"):
        return augment(numbered(32, 32, name), seed=seed, pass_number=pass_number, crop=16).s1.tobytes()

    assert shown() == shown()
    others = [shown(seed=1), shown(pass_number=1), shown(name="other")]
    assert all(other != shown() for other in others)


def test_all_symmetries_and_places_occur():
    tile = numbered(18, 18)
    turns = {augment(tile, seed=0, pass_number=i).s1.tobytes() for i in range(100)}
    assert len(turns) == 8
    corners = {int(augment(tile, seed=0, pass_number=i, crop=16, turn=False).s1[0, 0, 0]) for i in range(100)}
    assert corners == {row * 18 + column for row in range(3) for column in range(3)}


def test_a_tile_that_is_not_square_keeps_its_shape():
    for i in range(20):
        assert augment(numbered(16, 24), seed=0, pass_number=i).s1.shape == (2, 16, 24)


def test_without_turns_and_crop_the_tile_is_unchanged():
    tile = numbered()
    assert augment(tile, seed=0, pass_number=3, turn=False) is tile


@pytest.mark.parametrize("side, first", [(16, 2 * 20 + 2), (20, 0)])
def test_evaluation_cuts_the_centre(side, first):
    assert crop_centre(numbered(20, 20), side).s2[0, 0, 0] == first


def test_a_crop_counts_its_own_missing_pixels():
    tile = numbered(20, 20)
    tile.s1[:, 0, 0] = tile.s1[:, 10, 10] = MISSING
    assert crop_centre(tile, 16).info.missing_radar == 1
