"""Stored outputs of stage 1 as part of the tiles of stage 2."""

import numpy as np
import pytest
import torch

from partoken.errors import UserError
from partoken.satellite.catalog import tiles
from partoken.satellite.dataset.augmentation import augment, symmetry
from partoken.satellite.dataset.stage1 import Stage1Outputs, write_output
from partoken.satellite.tiles.tile import TileInfo, make_tile
from tests.satellite.made_tiles import write_scenes


@pytest.fixture
def root(tmp_path):
    return write_scenes(tmp_path / "tiles", north=2, south=1, east=1)


def store(folder, root, size=16):
    folder.mkdir(parents=True)
    for number, file in enumerate(sorted(root.glob("*.npz"))):
        write_output(folder, file.stem, torch.full((4, size, size), 0.1 * (number + 1)))
    return folder


def test_an_output_is_read_as_it_was_written(tmp_path):
    reflectance = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(0))
    reflectance[0, 0, 0] = 9.9
    write_output(tmp_path, "a", reflectance)
    counts = Stage1Outputs(tmp_path).read("a", (5, 6))
    assert counts.dtype == np.int16 and counts[0, 0, 0] == 32_767, "the largest count that is kept"
    np.testing.assert_allclose(counts[1:] / 10_000, reflectance[1:].numpy(), atol=6e-5)


@pytest.mark.parametrize("place", ["stage1/outputs", "stage1"])
def test_a_batch_has_the_output_of_each_of_its_tiles(tmp_path, root, place):
    store(tmp_path / place, root)
    data = tiles(str(root), stage1_dir=str(tmp_path / "stage1"), augment=False, batch_size=1)
    levels = {file.stem: 0.1 * (number + 1) for number, file in enumerate(sorted(root.glob("*.npz")))}
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            assert batch.stage1.shape == (1, 4, 16, 16)
            torch.testing.assert_close(batch.stage1, torch.full_like(batch.stage1, levels[batch.ids[0]]))


def test_a_folder_without_stored_outputs_gives_none(tmp_path, root):
    (tmp_path / "stage1").mkdir()
    data = tiles(str(root), stage1_dir=str(tmp_path / "stage1"), batch_size=1)
    assert next(iter(data.train_dataloader())).stage1 is None


def test_flips_and_turns_keep_the_output_on_its_tile():
    pixels = np.arange(36, dtype=np.int16).reshape(1, 6, 6)
    tile = make_tile(TileInfo("a", "a", (6, 6)), np.repeat(pixels, 2, 0), np.repeat(pixels, 4, 0))
    tile = tile.map_pixels(lambda own: own)
    tile.__dict__["stage1"] = np.repeat(pixels, 4, 0)
    for number in range(8):
        moved = augment(tile, seed=number, pass_number=0, crop=4)
        np.testing.assert_array_equal(moved.stage1, moved.s2)
    assert symmetry(pixels, 4).shape == pixels.shape


def test_missing_folders_tiles_and_damaged_files_are_named(tmp_path, root):
    data = tiles(str(root), stage1_dir=str(tmp_path / "nowhere"), batch_size=1)
    with pytest.raises(UserError, match=r"data\.stage1_dir=.*nowhere: no such folder"):
        data.train_dataloader()
    folder = store(tmp_path / "outputs", root)
    (folder / "north_0_0.npz").unlink()
    data = tiles(str(root), stage1_dir=str(folder), batch_size=1)
    with pytest.raises(UserError, match="no output of stage 1 for the tiles north_0_0"):
        data.train_dataloader()
    (folder / "north_0_0.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"north_0_0\.npz cannot be read as an output of stage 1"):
        Stage1Outputs(folder).read("north_0_0", (16, 16))
    write_output(folder, "north_0_0", torch.zeros(4, 8, 8))
    with pytest.raises(UserError, match="8 x 8 pixels, its tile 16 x 16"):
        Stage1Outputs(folder).read("north_0_0", (16, 16))
