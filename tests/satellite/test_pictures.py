"""Pictures of tiles: one stretch for all, and the best, median and worst tile of a test."""

import dataclasses

import numpy as np
import pytest
import torch

from partoken.satellite.metrics import tile_scores
from partoken.satellite.pictures import KEPT, ShownTiles, tile_psnr, true_colour
from tests.satellite.made import make_batch


def answers(batch, errors):
    """Returns the truth with an error of its own for each tile."""
    return batch.s2 + torch.tensor(errors).view(-1, 1, 1, 1)


def test_true_colour_shows_red_green_and_blue_with_a_fixed_stretch():
    pixel = np.array([0.0625, 0.125, 0.25, 0.9]).reshape(4, 1, 1)
    expected = [1, 0.5 ** (1 / 1.6), 0.25 ** (1 / 1.6)]
    np.testing.assert_allclose(true_colour(pixel)[0, 0], expected)
    np.testing.assert_allclose(true_colour(np.concatenate([pixel, 2 * pixel], 2))[0, 0], expected)


def test_the_psnr_of_a_tile_is_that_of_the_scores():
    batch = make_batch(3)
    mask = batch.s1_mask & batch.s2_mask
    predicted = answers(batch, [0.01, 0.05, -0.02])
    expected = tile_scores(predicted, batch.s2, mask)["psnr_03"][:, 0]
    torch.testing.assert_close(tile_psnr(predicted, batch.s2, mask), expected)


def test_the_best_the_median_and_the_worst_tile_are_shown(tmp_path):
    shown, batch = ShownTiles(), make_batch(5)
    shown.add(batch, answers(batch, [0.03, 0.01, 0.05, 0.02, 0.04]))
    panels = shown.write(tmp_path)
    rows = [row.split("\n")[1] for row in panels["test_tiles"]["rows"]]
    assert rows == [batch.ids[1], batch.ids[0], batch.ids[2]]
    with np.load(tmp_path / "test_tiles.npz") as file:
        arrays = dict(file)
    for panel in panels.values():
        assert panel["rows"] == panels["test_tiles"]["rows"]
        for column in panel["columns"]:
            assert arrays[column["array"]].shape[:3] == (3, 24, 20)
            assert (arrays[column["array"]].ndim == 4) == ("limits" not in column)
    place = 1
    valid = (batch.s1_mask & batch.s2_mask)[place].numpy()
    np.testing.assert_allclose(arrays["error"][0][valid], 0.01, atol=1e-3)
    np.testing.assert_array_equal(np.isnan(arrays["error"][0]), ~valid)
    np.testing.assert_array_equal(np.isnan(arrays["vv"][0]), ~batch.s1_mask[place].numpy())


def test_a_tile_without_valid_pixels_is_left_out_and_one_tile_is_one_row(tmp_path):
    batch = make_batch(2)
    batch = dataclasses.replace(batch, s2_mask=batch.s2_mask & torch.tensor([True, False]).view(2, 1, 1))
    shown = ShownTiles()
    shown.add(batch, batch.s2)
    assert [row.split(":")[0] for row in shown.write(tmp_path)["test_tiles"]["rows"]] == ["best"]
    assert ShownTiles().write(tmp_path) == {}


@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_many_tiles_are_chosen_in_bounded_memory(order):
    errors = np.random.default_rng(0).permutation(np.linspace(0.001, 0.1, 400))
    errors = {"random": errors, "rising": np.sort(errors), "falling": -np.sort(-errors)}[order]
    shown, batch = ShownTiles(), make_batch(1, 8, 8, missing=0)
    for number, error in enumerate(errors):
        shown.add(dataclasses.replace(batch, ids=(str(number),)), answers(batch, [error]))
    assert len(shown._kept) <= KEPT
    chosen = shown.choose()
    assert int(chosen["best"].id) == errors.argmin() and int(chosen["worst"].id) == errors.argmax()
    rank = (errors < errors[int(chosen["median"].id)]).sum()
    assert 185 < rank < 215
