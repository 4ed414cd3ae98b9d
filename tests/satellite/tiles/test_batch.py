"""Batches of tiles: units, masks, and moving between devices."""

import dataclasses

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection

from partoken.satellite.tiles.batch import TileBatch, collate
from partoken.satellite.tiles.reading import read_tile
from tests.satellite.made_tiles import made_bands, write_tile


def made_batch(tmp_path):
    bands = made_bands(1)
    bands["s1_vv"][2, 3] = np.nan
    for band in ("s2_b2", "s2_b3", "s2_b4", "s2_b8"):
        bands[band][5, 6] = 0
    first = read_tile(write_tile(tmp_path / "a_0_1.npz", bands, month=6, biome_code=0))
    second = read_tile(write_tile(tmp_path / "b_0_1.npz", made_bands(2)))
    return bands, collate([first, second])


def test_a_batch_has_decibel_and_reflectance_and_zero_where_a_pixel_is_missing(tmp_path):
    bands, batch = made_batch(tmp_path)
    assert len(batch) == 2 and batch.ids == ("a_0_1", "b_0_1") and batch.scenes == ("a", "b")
    assert batch.s1.dtype == batch.s2.dtype == torch.float32 and batch.s1_mask.dtype == torch.bool
    assert batch.month.tolist() == [6, 0] and batch.biome.tolist() == [0, -1]
    assert (~batch.s1_mask).nonzero().tolist() == [[0, 2, 3]] and (~batch.s2_mask).nonzero().tolist() == [[0, 5, 6]]
    assert batch.s1[0, :, 2, 3].tolist() == [0, 0] and batch.s2[0, :, 5, 6].tolist() == [0, 0, 0, 0]
    expected = torch.from_numpy((bands["s2_b8"] / 10_000).astype(np.float32))
    assert torch.equal(batch.s2[0, 3], expected)
    valid = batch.s1_mask[0]
    torch.testing.assert_close(batch.s1[0, 1][valid], torch.from_numpy(bands["s1_vh"])[valid], atol=0.00501, rtol=0)


def test_a_batch_moves_with_all_its_tensors(tmp_path):
    _, batch = made_batch(tmp_path)
    batch = dataclasses.replace(batch, stage1=batch.s2)
    moved = batch.to("meta")
    assert isinstance(moved, TileBatch) and moved.ids == batch.ids
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    no_tensors = {"ids", "scenes", "share"}
    assert len(tensors) == len({field.name for field in dataclasses.fields(TileBatch)} - no_tensors)
    assert all(tensor.is_meta for tensor in tensors)


def test_lightning_converts_a_batch_to_another_precision(tmp_path):
    _, batch = made_batch(tmp_path)
    converted = apply_to_collection(batch, torch.Tensor, lambda t: t.double() if t.is_floating_point() else t)
    assert converted.s1.dtype == converted.s2.dtype == torch.float64 and converted.month.dtype == torch.int64
    assert batch.s1.dtype == torch.float32
