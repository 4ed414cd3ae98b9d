"""Finding and reading the tiles of a folder."""

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.satellite.dataset.folder import find_tiles, read_folder
from partoken.satellite.tiles.reading import Units
from tests.satellite.made_tiles import made_bands, write_tile


def test_tiles_are_found_at_any_depth_and_hidden_ones_are_left_out(tmp_path):
    for name in ("b.npz", "a/c.npz", "a/d/e.NPZ", ".hidden/f.npz", ".g.npz", "h.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_tiles(tmp_path) == ["b.npz", "a/c.npz", "a/d/e.NPZ"]


def test_a_missing_and_an_empty_folder_are_one_message(tmp_path):
    with pytest.raises(UserError, match=r"data.root=.*absent: no such folder"):
        read_folder(tmp_path / "absent", Units())
    with pytest.raises(UserError, match=r"holds no tile: no file at any depth ends in .npz; .*convert"):
        read_folder(tmp_path, Units())


def test_folders_named_after_splits_give_the_split(tmp_path):
    for name in ("train/a.npz", "valid/b.npz", "test/deep/c.npz", "d.npz", "other/e.npz"):
        write_tile(tmp_path / name)
    infos = read_folder(tmp_path, Units()).store.infos
    assert {info.id: info.split for info in infos} == {
        "train/a": "train",
        "valid/b": "val",
        "test/deep/c": "test",
        "d": "",
        "other/e": "",
    }


def test_a_tile_that_contradicts_its_folder_is_skipped(tmp_path):
    write_tile(tmp_path / "train/a.npz", facts={"split": "test"})
    [skipped] = read_folder(tmp_path, Units()).skipped
    assert skipped.reason == "split=test in its own file, but it is in the folder train"


def test_every_file_is_read_or_skipped_with_its_reason(tmp_path):
    write_tile(tmp_path / "good.npz")
    write_tile(tmp_path / "month.npz", month=13)
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    bands = {name: values / 10_000 if name.startswith("s2") else values for name, values in made_bands().items()}
    write_tile(tmp_path / "reflectance.npz", bands)
    found = read_folder(tmp_path, Units())
    assert [info.id for info in found.store.infos] == ["good"] and found.num_inputs == 4
    reasons = {item.file: item.reason for item in found.skipped}
    assert reasons["month.npz"] == "month=13: must be 1 to 12"
    assert "damaged" in reasons["damaged.npz"] and "as in reflectance" in reasons["reflectance.npz"]
    assert all(item.unusable for item in found.skipped)


def test_several_processes_read_the_same_tiles_in_the_same_order(tmp_path):
    for i in range(6):
        write_tile(tmp_path / f"{i}.npz", made_bands(i))
    one, two = (read_folder(tmp_path, Units(), workers=workers).store for workers in (0, 2))
    assert one.infos == two.infos
    assert all(np.array_equal(a.s2, b.s2) for a, b in zip(one.read(range(6)), two.read(range(6)), strict=True))
