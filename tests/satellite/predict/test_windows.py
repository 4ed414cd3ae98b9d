"""Prediction in windows: the whole image again, without seams, in memory that does not grow with its height."""

import tracemalloc

import numpy as np
import pytest

from partoken.satellite.predict.images import TileImage
from partoken.satellite.predict.predictor import TilePredictor
from partoken.satellite.predict.windows import ALIGNMENT, count_windows, cut, predict_strips
from partoken.satellite.tiles.tile import MISSING, pack_radar
from tests.satellite.made import make_batch
from tests.satellite.predict.saved_network import save_stage1

TOLERANCE = 1e-4
"""In reflectance: one count."""


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return TilePredictor(save_stage1(tmp_path_factory.mktemp("model") / "best.ckpt"), "cpu")


def mosaic(height=360, width=360, seed=0):
    """Returns packed radar of a mosaic of different tiles, 3 x 3 in the default size."""
    tiles = [make_batch(1, 120, 120, missing=0, seed=seed + n).s1[0].numpy() for n in range(9)]
    rows = [np.concatenate(tiles[3 * n : 3 * n + 3], 2) for n in range(3)]
    return pack_radar(np.concatenate(rows, 1)[:, :height, :width])


def assembled(strips):
    """Joins strips; checks that each row comes once and in order."""
    strips = list(strips)
    assert [strip.start for strip in strips] == list(np.cumsum([0] + [len(strip.valid) for strip in strips])[:-1])
    return np.concatenate([strip.reflectance for strip in strips], 1), np.concatenate([strip.valid for strip in strips])


def squares(radar):
    """A network whose answer depends on the pixel alone."""
    return np.stack([radar[0] / 1000.0] * 4).astype(np.float32) ** 2


@pytest.mark.parametrize("length", [16, 256, 257, 300, 511, 1000, 10_980])
@pytest.mark.parametrize("window", [64, 112, 256, 512])
def test_windows_cover_every_pixel_once_in_sum_and_end_at_the_border(length, window):
    spans = cut(length, window)
    total = np.zeros(length)
    for span in spans:
        assert span.start % ALIGNMENT == 0
        assert min(window, length) <= span.stop - span.start < window + ALIGNMENT
        assert (span.weight >= 0).all()
        total[span.slice] += span.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert spans[0].start == 0 and spans[-1].stop == length
    assert [span.start for span in spans] == sorted({span.start for span in spans})


def test_large_windows_throw_48_pixels_away_and_blend_32():
    first, second = cut(896, 512)
    assert (first.stop, second.start) == (512, 384)
    assert (second.weight[:48] == 0).all() and (second.weight[80:] == 1).all()
    assert (np.diff(second.weight[47:81]) > 0).all()
    np.testing.assert_allclose(first.weight[384:] + second.weight[:128], 1, atol=1e-6)


@pytest.mark.parametrize("size", [(360, 360), (251, 120)], ids=str)
def test_a_mosaic_predicted_in_windows_is_that_predicted_as_a_whole(predictor, size):
    radar = mosaic(*size)
    whole = predictor.answer(radar)
    assert whole.std() > 100 * TOLERANCE, "the network answers with structure"
    reflectance, valid = assembled(predict_strips(TileImage(radar), predictor.answer, 240))
    assert valid.all()
    assert np.abs(reflectance - whole).max() < TOLERANCE


def test_without_an_overlap_the_same_network_would_leave_seams(predictor):
    """Proves that the test above could fail."""
    radar = mosaic(120, 240)
    whole = predictor.answer(radar)
    halves = np.concatenate([predictor.answer(radar[:, :, :112]), predictor.answer(radar[:, :, 112:])], 2)
    assert np.abs(halves - whole).max() > 100 * TOLERANCE


@pytest.mark.parametrize(("window", "height", "width"), [(64, 100, 150), (112, 150, 170)])
def test_borders_of_windows_are_no_steeper_than_other_places(predictor, window, height, width):
    """A constant radar with speckle has no edges of its own, so every seam would show."""
    speckle = np.random.default_rng(0).normal(0, 1, (2, height, width))
    radar = pack_radar(np.array([-11.0, -17.0]).reshape(2, 1, 1) + speckle)
    reflectance, _ = assembled(predict_strips(TileImage(radar), predictor.answer, window))
    for axis, length in ((1, height), (2, width)):
        other = tuple({0, 1, 2} - {axis})
        steps = np.abs(np.diff(reflectance, axis=axis)).mean(other)
        borders = {span.start for span in cut(length, window)} | {span.stop for span in cut(length, window)}
        inside = sorted(borders - {0, length})
        assert inside
        assert steps[[place - 1 for place in inside]].mean() < 1.1 * np.median(steps)


def test_missing_radar_stays_missing_and_a_window_without_radar_is_not_predicted():
    radar = mosaic()
    radar[:, :, 100:] = MISSING
    radar[:, 7, 5] = MISSING
    widths = []

    def answer(part):
        widths.append(part.shape[2])
        return squares(part)

    reflectance, valid = assembled(predict_strips(TileImage(radar), answer, 64))
    np.testing.assert_array_equal(valid, radar[0] != MISSING)
    assert (reflectance[:, ~valid] == 0).all()
    np.testing.assert_allclose(reflectance[0][valid], squares(radar)[0][valid], rtol=1e-5)
    assert len(widths) < count_windows((360, 360), 64) / 2


class Endless:
    """A scene whose pixels are made when they are read."""

    def __init__(self, height, width):
        self.shape = (height, width)

    def read(self, rows, columns):
        return np.full((2, rows.stop - rows.start, columns.stop - columns.start), -1200, np.int16)


def test_memory_does_not_grow_with_the_height_of_a_scene():
    peaks = []
    for height in (1024, 8192):
        tracemalloc.start()
        for strip in predict_strips(Endless(height, 1024), squares, 128):
            assert strip.valid.all()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]
    assert peaks[1] < 8 * 4 * 128 * 1024 * 4 < 4 * 8192 * 1024 * 4
