"""Mean and standard deviation of the bands over valid pixels."""

import numpy as np

from partoken.satellite.dataset.statistics import band_statistics
from partoken.satellite.tiles.tile import MISSING, TileInfo, make_tile


def test_statistics_are_those_of_numpy_over_the_valid_pixels():
    random = np.random.default_rng(0)
    s1 = random.integers(-3000, 500, (5, 2, 16, 16)).astype(np.int16)
    s2 = random.integers(1, 9000, (5, 4, 16, 16)).astype(np.int16)
    s1[1, :, :4], s2[2, :, 7:] = MISSING, MISSING
    found = band_statistics(make_tile(TileInfo("a", "a", (0, 0)), *pair) for pair in zip(s1, s2, strict=True))
    for values, step, name in ((s1, 0.01, "s1"), (s2, 1e-4, "s2")):
        valid = np.where(values == MISSING, np.nan, values * step)
        np.testing.assert_allclose(found[f"{name}_mean"], np.nanmean(valid, axis=(0, 2, 3)), rtol=1e-10)
        np.testing.assert_allclose(found[f"{name}_std"], np.nanstd(valid, axis=(0, 2, 3)), rtol=1e-10)


def test_a_constant_band_has_a_deviation_that_can_divide():
    tile = make_tile(TileInfo("a", "a", (0, 0)), np.full((2, 4, 4), -900, np.int16), np.full((4, 4, 4), 5, np.int16))
    found = band_statistics([tile])
    assert found["s1_mean"] == [-9, -9] and found["s1_std"] == [0.01, 0.01] and found["s2_std"] == [1e-4] * 4
