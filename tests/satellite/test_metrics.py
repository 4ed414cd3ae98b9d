"""Scores of reflectance: values computed independently, masks, and sums over batches and devices."""

import math

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from partoken.satellite.metrics import ImageScores, ndvi, spectral_angle, structural_similarity, tile_scores


def images(num_tiles=2, size=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(num_tiles, 4, size, size, generator=generator, dtype=torch.float64)
    predicted = (truth + 0.1 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    return predicted, truth, torch.ones(num_tiles, size, size, dtype=torch.bool)


def compute(predicted, truth, mask):
    scores = ImageScores()
    scores.add(predicted, truth, mask)
    return scores.compute()


@pytest.mark.parametrize("data_range", [1.0, 0.3])
def test_without_missing_pixels_the_similarity_is_that_of_torchmetrics(data_range):
    predicted, truth, mask = images()
    expected = [
        structural_similarity_index_measure(predicted[:, [band]], truth[:, [band]], data_range=data_range)
        for band in range(4)
    ]
    similarity, num_windows = structural_similarity(predicted, truth, mask, data_range)
    torch.testing.assert_close(similarity.mean(0), torch.stack(expected).double(), atol=1e-6, rtol=0)
    assert num_windows.unique().tolist() == [30 * 30]


def test_a_constant_error_has_the_psnr_of_its_square_for_both_data_ranges():
    truth = torch.full((1, 4, 16, 16), 0.5)
    scores = compute(truth + 0.1, truth, torch.ones(1, 16, 16, dtype=torch.bool))
    assert scores["psnr"] == pytest.approx(20, abs=1e-4)
    assert scores["psnr"] - scores["psnr_03"] == pytest.approx(20 * math.log10(1 / 0.3))
    assert scores["mae"] == pytest.approx(0.1)


def test_reflectance_is_clipped_to_zero_and_one():
    truth = torch.full((1, 4, 16, 16), 1.0)
    mask = torch.ones(1, 16, 16, dtype=torch.bool)
    assert compute(truth + 0.5, truth + 0.2, mask)["mae"] == 0
    assert compute(truth - 1.5, truth - 1, mask)["psnr"] == pytest.approx(120)


def test_the_psnr_of_a_tile_is_that_of_its_mean_squared_error_over_bands():
    predicted, truth, mask = images(1)
    squared = (predicted - truth).square()
    scores = ImageScores()
    scores.add(predicted, truth, mask)
    assert scores.compute()["psnr"] == pytest.approx(-10 * math.log10(squared.mean()))
    assert scores.per_band()["b3"]["psnr"] == pytest.approx(-10 * math.log10(squared[:, 1].mean()))


def test_missing_pixels_do_not_count_in_any_score():
    predicted, truth, mask = images()
    mask[:, 8:14, 3:9] = False
    clean = compute(predicted, truth, mask)
    hole = ~mask[:, None]
    spoilt = compute(torch.where(hole, 0.9, predicted), torch.where(hole, 0.0, truth), mask)
    assert spoilt == pytest.approx(clean, abs=1e-9)


def test_a_tile_without_a_valid_pixel_does_not_count():
    predicted, truth, mask = images(2)
    alone = compute(predicted[:1], truth[:1], mask[:1])
    mask[1] = False
    assert compute(predicted, truth, mask) == pytest.approx(alone)
    assert all(math.isfinite(value) for value in compute(predicted[1:], truth[1:], mask[1:]).values())


def test_batches_and_devices_add_up_to_one_evaluation():
    predicted, truth, mask = images(5)
    first, second = ImageScores(), ImageScores()
    first.add(predicted[:2], truth[:2], mask[:2])
    first.add(predicted[2:3], truth[2:3], mask[2:3])
    second.add(predicted[3:], truth[3:], mask[3:])
    first.merge(second.sums)
    assert first.compute() == pytest.approx(compute(predicted, truth, mask))
    empty = ImageScores()
    empty.merge(second.sums)
    assert empty.compute() == second.compute()


def test_the_spectral_angle_has_known_values_and_leaves_out_zero_pixels():
    truth = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [0.2, 0.1, 0.3, 0.4], [0, 0, 0, 0]]).T.reshape(1, 4, 1, 4)
    predicted = torch.tensor([[0.0, 1, 0, 0], [1, 0, 0, 0], [0.4, 0.2, 0.6, 0.8], [1, 0, 0, 0]]).T.reshape(1, 4, 1, 4)
    angle, defined = spectral_angle(predicted, truth)
    assert torch.rad2deg(angle)[0, 0, :3].tolist() == pytest.approx([90, 45, 0], abs=1e-3)
    assert defined[0, 0].tolist() == [True, True, True, False]
    scores = tile_scores(predicted, truth, torch.ones(1, 1, 4, dtype=torch.bool))
    assert scores["angle"].item() == pytest.approx(45, abs=1e-6)


def test_the_vegetation_index_is_zero_where_both_bands_are():
    bands = torch.tensor([[0, 0, 0.1, 0.3], [0, 0, 0.0, 0.0]]).T.reshape(1, 4, 1, 2)
    assert ndvi(bands)[0, 0].tolist() == pytest.approx([0.5, 0.0])


def test_tiles_smaller_than_the_window_have_a_similarity():
    predicted, truth, mask = images(1, size=4)
    assert structural_similarity(truth, truth, mask, 1.0)[0].tolist()[0] == pytest.approx([1.0] * 4)
    assert 0 < compute(predicted, truth, mask)["ssim"] < 1
