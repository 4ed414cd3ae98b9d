"""The data module of tiles: loaders, statistics, report, exact resume, and the contract with the engine."""

import inspect
import json

import pytest
import torch

from partoken.errors import UserError
from partoken.satellite.dataset.datamodule import TileDataModule
from partoken.satellite.dataset.folder import read_folder
from partoken.satellite.dataset.options import TileOptions
from partoken.satellite.tiles.reading import Units
from partoken.system.tables import read_table
from partoken.training.domain import DataModule
from tests.satellite.made_tiles import made_bands, write_scenes, write_tile


def make(root, units=None, batch_size=4, num_workers=0, seed=0, memory_limit=None, **options):
    units = units or Units()
    return TileDataModule(
        lambda: read_folder(root, units, memory_limit=memory_limit),
        TileOptions(**options),
        fit_baselines=lambda batches: {"tiles": [name for batch in batches for name in batch.ids]},
        provenance={"name": "tiles", "s1_units": units.s1_units, "s2_offset": units.s2_offset},
        batch_size=batch_size,
        num_workers=num_workers,
        seed=seed,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("tiles"), a=6, b=3, c=3, d=2, e=2)


def same(one, two):
    return one.ids == two.ids and torch.equal(one.s1, two.s1) and torch.equal(one.s2, two.s2)


def test_every_tile_is_in_one_split_and_its_loader(root):
    data = make(root)
    data.setup("fit")
    ids = {split: data.dataset(split).infos for split in ("train", "val", "test")}
    assert sorted(len(infos) for infos in ids.values())[-1] == len(ids["train"])
    assert sum(map(len, ids.values())) == 16
    for split, infos in ids.items():
        loader = getattr(data, f"{split}_dataloader")()
        seen = [name for batch in loader for name in batch.ids]
        assert sorted(seen) == sorted(info.id for info in infos)
    assert len(data.train_dataloader()) == data.num_train_batches(1)


def test_training_tiles_change_with_the_epoch_and_evaluation_tiles_do_not(root):
    data = make(root)
    loader = data.train_dataloader()
    shown = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        shown.append({name: batch.s1[i] for batch in loader for i, name in enumerate(batch.ids)})
    assert shown[0].keys() == shown[1].keys()
    assert any(not torch.equal(shown[0][name], shown[1][name]) for name in shown[0])
    sorted_values = [{name: s1.flatten().sort().values for name, s1 in epoch.items()} for epoch in shown]
    assert all(torch.equal(sorted_values[0][name], sorted_values[1][name]) for name in shown[0])
    first, second = ([*data.val_dataloader()] for _ in range(2))
    assert all(map(same, first, second))


def test_a_resumed_epoch_continues_with_the_same_batches(root):
    whole, resumed = make(root, crop=16, passes_per_epoch=2), make(root, crop=16, passes_per_epoch=2)
    loader = whole.train_dataloader()
    loader.sampler.set_epoch(3)
    batches = []
    for batch in loader:
        batches.append(batch)
        if len(batches) == 2:
            resumed.load_state_dict(whole.state_dict())
    again = resumed.train_dataloader()
    again.sampler.set_epoch(3)
    rest = list(again)
    assert len(rest) == len(batches) - 2 > 0
    assert all(map(same, rest, batches[2:]))


def test_worker_processes_and_little_memory_give_the_same_batches(root):
    plain = list(make(root).train_dataloader())
    assert all(map(same, plain, make(root, num_workers=1).train_dataloader()))
    little = make(root, memory_limit=0)
    assert all(map(same, plain, little.train_dataloader()))
    assert little.collection.store.num_bytes == 0


def test_the_settings_are_plain_and_describe_the_training_tiles(root):
    data = make(root)
    settings = data.settings()
    assert json.loads(json.dumps(settings)) == settings
    training = {info.id for info in data.dataset("train").infos}
    assert settings["bands"] == ["b2", "b3", "b4", "b8"]
    assert settings["num_train_tiles"] == len(training) and settings["num_train_scenes"] >= 2
    assert set(settings["baselines"]["tiles"]) == training
    assert settings["source"] == {"name": "tiles", "s1_units": "db", "s2_offset": None, "tile_size": [16, 16]}
    batches = [data.dataset("train")[[(i, -1)]] for i in range(len(training))]
    radar = torch.cat([batch.s1 for batch in batches])
    torch.testing.assert_close(torch.tensor(settings["s1_mean"]), radar.mean((0, 2, 3)), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        torch.tensor(settings["s1_std"]), radar.std((0, 2, 3), correction=0), rtol=1e-4, atol=1e-4
    )


def test_the_report_lists_tiles_masked_pixels_and_skipped_files(tmp_path):
    root = write_scenes(tmp_path / "tiles", a=4, b=2, c=2)
    bands = made_bands()
    bands["s1_vv"][:2] = float("nan")
    write_tile(root / "a_9_9.npz", bands, month=5)
    write_tile(root / "wrong.npz", month=13)
    write_tile(root / "large_0_0.npz", made_bands(size=24))
    data = make(root, max_skipped=0.5)
    data.setup("fit")
    data.write_report(tmp_path)
    report = json.loads((tmp_path / "data_report.json").read_text())
    assert report["files"] == 11 and report["tiles_used"] == 9 and report["tile_size"] == [16, 16]
    assert sum(masked["radar"] for masked in report["masked_pixels"].values()) == 32
    assert sorted(name for names in report["scene_names"].values() for name in names) == ["a", "b", "c"]
    assert report["with_month"] == 1 and sum(report["scenes"].values()) == 3
    rows = read_table(tmp_path / "skipped.csv")
    assert {row["file"]: row["reason"].split(":")[0] for row in rows} == {
        "wrong.npz": "month=13",
        "large_0_0.npz": "24 x 24 pixels, but most tiles have 16 x 16; set data.crop",
    }
    assert data.describe()[0].startswith("data: 9 of 11 tiles of 16 x 16 pixels; splits by scene: train 5 of 1 scene")


def test_too_many_unusable_tiles_stop_the_run_and_are_listed(tmp_path):
    root = write_scenes(tmp_path / "tiles", a=4, b=2, c=2)
    write_tile(root / "wrong.npz", biome_code=16)
    data = make(root)
    with pytest.raises(UserError, match=r"1 of 9 inputs \(11%\) cannot be used, .*\n  wrong.npz: biome_code=16"):
        data.setup("fit")
    data.write_report(tmp_path)
    assert "biome_code=16: must be 0 to 15" in (tmp_path / "skipped.csv").read_text()
    assert not (tmp_path / "data_report.json").exists()


def test_a_crop_makes_tiles_of_several_sizes_fit(tmp_path):
    root = write_scenes(tmp_path, a=3, b=1, c=1)
    write_tile(root / "d_0_0.npz", made_bands(size=(24, 32)))
    data = make(root, crop=16)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        assert all(batch.s1.shape[2:] == (16, 16) for batch in loader)


def test_the_data_module_follows_the_contract_with_the_engine():
    contract = [name for name in vars(DataModule) if not name.startswith("_")]
    assert "num_train_batches" in contract
    for name in contract:
        expected = inspect.signature(getattr(DataModule, name)).parameters
        assert inspect.signature(getattr(TileDataModule, name)).parameters.keys() == expected.keys(), name
