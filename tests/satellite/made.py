"""Made tiles, and a data module of them, for the tests of networks and tasks."""

import torch

from partoken.satellite.baselines import fit_baselines
from partoken.satellite.tiles.batch import TileBatch
from partoken.training.resume import ResumableDataModule, ResumableLoader
from tests.training.toy import Shuffled


def make_batch(num_tiles=2, height=24, width=20, *, missing=0.1, seed=0, dtype=torch.float32):
    """Returns tiles whose bands follow smooth radar; a fraction of the pixels is missing in each sensor."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(num_tiles, 2, 6, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    s1 = torch.tensor([-11.0, -17.0]).view(1, 2, 1, 1) + 3 * smooth
    s1 += 0.3 * torch.randn(s1.shape, generator=generator)
    mixing = torch.tensor([[0.3, 0.1], [0.2, 0.2], [0.4, -0.1], [-0.2, 0.9]])
    log_ratio = torch.einsum("cf,bfhw->bchw", mixing, smooth) / 3
    s2 = torch.tensor([0.05, 0.07, 0.06, 0.3]).view(1, 4, 1, 1) * log_ratio.exp()
    s1_mask = torch.rand(num_tiles, height, width, generator=generator) >= missing
    s2_mask = torch.rand(num_tiles, height, width, generator=generator) >= missing
    names = tuple(f"tile{seed}_{number}" for number in range(num_tiles))
    return TileBatch(
        s1=(s1 * s1_mask[:, None]).to(dtype),
        s1_mask=s1_mask,
        s2=(s2 * s2_mask[:, None]).to(dtype),
        s2_mask=s2_mask,
        month=torch.arange(num_tiles) % 13,
        biome=torch.arange(num_tiles) % 17 - 1,
        ids=names,
        scenes=names,
    )


def data_settings(batches=None):
    """Returns what `DataModule.settings` returns, of made tiles."""
    batches = batches or [make_batch(4)]
    s1 = torch.cat([batch.s1.movedim(1, -1)[batch.s1_mask] for batch in batches])
    s2 = torch.cat([batch.s2.movedim(1, -1)[batch.s2_mask] for batch in batches])
    return {
        "bands": ["b2", "b3", "b4", "b8"],
        "s1_mean": s1.mean(0).tolist(),
        "s1_std": s1.std(0).tolist(),
        "s2_mean": s2.mean(0).tolist(),
        "s2_std": s2.std(0).tolist(),
        "num_train_tiles": sum(map(len, batches)),
        "num_train_scenes": sum(map(len, batches)),
        "baselines": fit_baselines(batches),
        "source": {"tile_size": [24, 20]},
    }


class Tiles(list):
    """A data set that takes the lists of one row that `Shuffled` yields."""

    def __getitem__(self, rows):
        return super().__getitem__(rows[0])


class MadeData(ResumableDataModule):
    """Six training tiles, two for validation and three for the test, in batches of one."""

    def __init__(self, *, batch_size=1, num_workers=0, seed=0):
        super().__init__()
        self.batch_size = batch_size
        self.tiles = {
            split: [make_batch(1, seed=seed + 10 * number + place) for place in range(count)]
            for number, (split, count) in enumerate({"train": 6, "val": 2, "test": 3}.items())
        }

    def num_train_batches(self, world_size):
        return len(self.tiles["train"]) // world_size

    def describe(self):
        return []

    def settings(self):
        return data_settings(self.tiles["train"])

    def write_report(self, folder):
        pass

    def loader(self, split):
        tiles = Tiles(self.tiles[split])
        return ResumableLoader(tiles, Shuffled(tiles, 1), collate_fn=lambda batch: batch)

    def train_dataloader(self):
        return self.resumable(self.loader("train"))

    def val_dataloader(self):
        return self.loader("val")

    def test_dataloader(self):
        return self.loader("test")
