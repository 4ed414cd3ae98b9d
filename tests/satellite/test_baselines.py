"""The median and the ridge regression, compared with independent computations."""

import json

import numpy as np
import pytest
import torch

from partoken.satellite.baselines import PENALTY, SCALES, fit_baselines, predict_baseline, radar_features
from tests.satellite.made import make_batch


def valid_pixels(batch):
    valid = batch.s1_mask & batch.s2_mask
    features = radar_features(batch.s1, batch.s1_mask, SCALES).movedim(1, -1)[valid]
    return features.double().numpy(), batch.s2.movedim(1, -1)[valid].double().numpy()


def test_the_median_is_that_of_the_valid_pixels_of_each_band():
    batch = make_batch(3)
    _, optical = valid_pixels(batch)
    content = fit_baselines([batch])
    assert content["median"] == pytest.approx(np.median(optical, axis=0), abs=1e-4)
    answer = predict_baseline("median", content, batch)
    assert answer.shape == batch.s2.shape
    assert answer[1, :, 5, 5].tolist() == pytest.approx(content["median"])


def test_the_ridge_regression_is_the_least_squares_solution_of_penalised_rows():
    batch = make_batch(3)
    features, optical = valid_pixels(batch)
    standardised = (features - features.mean(0)) / features.std(0)
    count, width = standardised.shape
    penalty = np.sqrt(PENALTY * count) * np.eye(width)
    rows = np.vstack([standardised, penalty])
    target = np.vstack([optical - optical.mean(0), np.zeros((width, 4))])
    weights = np.linalg.lstsq(rows, target, rcond=None)[0]
    expected = standardised @ weights + optical.mean(0)
    answer = predict_baseline("ridge", fit_baselines([batch]), batch)
    valid = batch.s1_mask & batch.s2_mask
    np.testing.assert_allclose(answer.movedim(1, -1)[valid].numpy(), expected.clip(0), atol=2e-4)


def test_tiles_one_by_one_give_the_answers_of_one_batch():
    batches = [make_batch(1, seed=seed) for seed in range(3)]
    one = make_batch(1)
    keys = ("s1", "s1_mask", "s2", "s2_mask", "month", "biome")
    merged = type(one)(
        *(torch.cat([getattr(batch, key) for batch in batches]) for key in keys),
        ids=("a", "b", "c"),
        scenes=("a", "b", "c"),
    )
    separate, together = fit_baselines(batches), fit_baselines([merged])
    assert separate["median"] == together["median"]
    torch.testing.assert_close(
        predict_baseline("ridge", separate, one), predict_baseline("ridge", together, one), atol=1e-5, rtol=1e-4
    )


def test_a_box_averages_its_valid_pixels_and_is_smaller_at_the_border():
    batch = make_batch(1)
    mean = radar_features(batch.s1, batch.s1_mask, [7])[0, 0]
    vv, valid = batch.s1[0, 0].numpy(), batch.s1_mask[0].numpy()
    for row, column in ((10, 9), (0, 0), (23, 2)):
        box = np.s_[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
        assert mean[row, column].item() == pytest.approx(vv[box][valid[box]].mean(), abs=1e-4)


def test_missing_radar_may_have_any_value():
    batch = make_batch(2)
    content = fit_baselines([batch])
    other = type(batch)(**{**vars(batch), "s1": torch.where(batch.s1_mask[:, None], batch.s1, 50.0)})
    assert torch.equal(predict_baseline("ridge", content, batch), predict_baseline("ridge", content, other))
    assert fit_baselines([other]) == content


def test_the_content_is_small_and_plain():
    assert len(json.dumps(fit_baselines([make_batch(2)]))) < 20_000


def test_the_regression_beats_the_median_where_radar_decides_the_bands():
    train, other = make_batch(6), make_batch(3, seed=9)
    content = fit_baselines([train])
    valid = (other.s1_mask & other.s2_mask)[:, None].expand_as(other.s2)
    errors = {
        name: (predict_baseline(name, content, other) - other.s2)[valid].abs().mean() for name in ("median", "ridge")
    }
    assert errors["ridge"] < 0.5 * errors["median"]


def test_a_box_without_a_valid_pixel_has_the_mean_of_the_next_larger_one():
    batch = make_batch(1)
    mask = batch.s1_mask.clone()
    mask[:, 5:12, 5:12] = False
    features = radar_features(batch.s1, mask, [1, 3, 9])
    large, medium, small = features[0, 0], features[0, 5], features[0, 10]
    assert small[8, 8] == medium[8, 8] == large[8, 8] != 0
    nothing = radar_features(batch.s1, torch.zeros_like(mask), [1, 3, 9])
    assert not nothing.any()
