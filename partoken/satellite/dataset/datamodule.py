"""The data module of tiles: reads a source, reports on it, and loads batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from partoken.satellite.dataset.assembly import (
    Selection,
    TileDataset,
    build_datasets,
    check_offsets,
    select_tiles,
    wrong_sizes,
)
from partoken.satellite.dataset.batching import TileSampler, count_batches
from partoken.satellite.dataset.folder import TileCollection
from partoken.satellite.dataset.options import TileOptions
from partoken.satellite.dataset.report import data_report, describe_report
from partoken.satellite.dataset.stage1 import Stage1Outputs
from partoken.satellite.dataset.statistics import band_statistics
from partoken.satellite.tiles.batch import TileBatch, collate
from partoken.satellite.tiles.tile import OPTICAL_BANDS
from partoken.system.files import write_json
from partoken.system.skipped import Skipped, check_skipped, write_skipped
from partoken.training.resume import ResumableDataModule, ResumableLoader

__all__ = ["TileDataModule"]

BASELINE_TILES = 512
"""Largest number of training tiles that the baselines are fitted to."""


class TileDataModule(ResumableDataModule):
    """Tiles in three splits.

    The tiles are read once: by `setup`, or by the first property that needs them.

    See also:
        `partoken.training.domain.DataModule`: the contract with the engine.

    Arguments:
        read_source: reads the tiles.
        options: the options of `data` that every source has.
        fit_baselines: fits simple answers to training batches; its plain result goes into the checkpoint.
        provenance: plain values that describe the source and its units; the checkpoint keeps them, so that predictions
            read new tiles in the same way.
        batch_size: number of tiles in a batch.
        num_workers: number of processes that load batches; 0 loads in the main process.
        seed: seed of splits, limit, order and augmentation.
    """

    def __init__(
        self,
        read_source: Callable[[], TileCollection],
        options: TileOptions | None = None,
        *,
        fit_baselines: Callable[[Iterable[TileBatch]], dict[str, Any]],
        provenance: Mapping[str, Any],
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.options = options or TileOptions()
        self.provenance = dict(provenance)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._read_source = read_source
        self._fit_baselines = fit_baselines

    def prepare_data(self) -> None:
        """Does nothing: no source has a download."""

    def setup(self, stage: str) -> None:
        """Reads and splits the tiles, unless that is done; `stage` does not matter.

        Raises:
            UserError: the data cannot be used.
        """
        _ = self._datasets

    @cached_property
    def collection(self) -> TileCollection:
        """All tiles of the source, before splits are chosen."""
        return self._read_source()

    @property
    def skipped(self) -> list[Skipped]:
        """Files and tiles that are not used, with the reason for each."""
        return [*self.collection.skipped, *wrong_sizes(self.collection.store, self.options.crop)]

    @cached_property
    def selection(self) -> Selection:
        """The tiles in use."""
        read = self.collection
        check_skipped(self.skipped, read.num_inputs, self.options.max_skipped)
        check_offsets(read.store.infos, self.provenance.get("s2_offset"))
        return select_tiles(read, self.skipped[len(read.skipped) :], self.options, self.seed)

    @cached_property
    def _datasets(self) -> dict[str, TileDataset]:
        return build_datasets(self.collection.store, self.selection, self.options, self.seed)

    def dataset(self, split: str) -> TileDataset:
        """Returns the tiles of train, val or test."""
        return self._datasets[split]

    @cached_property
    def _fitted(self) -> dict[str, Any]:
        """What is computed from the training tiles: statistics of the bands, and the baselines."""
        training = self._datasets["train"]
        tiles = (tile for row in training.rows for tile in training.store.read([row]))
        return {**band_statistics(tiles), "baselines": self._fit_baselines(self._plain_batches())}

    def _plain_batches(self) -> Iterator[TileBatch]:
        """Yields training tiles without augmentation, at most `BASELINE_TILES`."""
        training = self._datasets["train"]
        chosen = np.random.default_rng(self.seed).permutation(len(training))[:BASELINE_TILES]
        for start in range(0, len(chosen), 8):
            yield training[[(int(position), -1) for position in sorted(chosen[start : start + 8])]]

    def settings(self) -> dict[str, Any]:
        """Returns plain values that the checkpoint keeps: statistics of the bands, baselines, units."""
        training = self._datasets["train"]
        crop = self.options.crop
        return {
            "bands": [band.removeprefix("s2_") for band in OPTICAL_BANDS],
            **self._fitted,
            "stage1_dir": self.options.stage1_dir,
            "num_train_tiles": len(training),
            "num_train_scenes": len({info.scene for info in training.infos}),
            "source": {
                **self.provenance,
                "tile_size": [crop, crop] if crop is not None else list(training.infos[0].shape),
            },
        }

    def whole_tiles(self) -> Iterator[TileBatch]:
        """Yields each tile of all splits, neither cut nor augmented, as a batch of its own."""
        store = self.collection.store
        for row in self.selection.rows:
            yield collate(store.read([row]))

    def _stage1_outputs(self) -> Stage1Outputs | None:
        """Returns the stored outputs of stage 1, which an earlier stage of the run may have written."""
        if self.options.stage1_dir is None:
            return None
        outputs = Stage1Outputs.find(self.options.stage1_dir)
        if outputs is not None:
            outputs.check(info.id for dataset in self._datasets.values() for info in dataset.infos)
        return outputs

    @cached_property
    def _data_report(self) -> dict[str, Any]:
        return data_report(self.collection, self.skipped, self.selection, self._datasets)

    def report(self) -> dict[str, Any]:
        """Returns the numbers of tiles, scenes and missing pixels, as plain values."""
        return {"source": self.provenance, **self._data_report}

    def describe(self) -> list[str]:
        """Returns the report as a few lines for the log."""
        return describe_report(self.report())

    def write_report(self, folder: Path) -> None:
        """Writes `skipped.csv` and, if the data can be used, `data_report.json` into the run folder.

        If `setup` has raised an error, the list shows which files to repair.
        """
        if "collection" in self.__dict__:
            write_skipped(Path(folder, "skipped.csv"), self.skipped)
        if "_datasets" in self.__dict__:
            write_json(Path(folder, "data_report.json"), self.report())

    def num_train_batches(self, world_size: int) -> int:
        """Returns the number of training batches of an epoch on each of `world_size` devices; reads the data.

        Raises:
            UserError: the data cannot be used, or there are too few tiles for the devices.
        """
        passes = self.options.passes_per_epoch
        return count_batches(len(self._datasets["train"]), self.batch_size, passes, world_size) // world_size

    def train_dataloader(self) -> DataLoader[Any]:
        """Loads the training tiles, in a different order each epoch, augmented."""
        return self.resumable(self._loader("train", shuffle=True, passes=self.options.passes_per_epoch))

    def val_dataloader(self) -> DataLoader[Any]:
        """Loads the validation tiles."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Loads the test tiles."""
        return self._loader("test")

    def _loader(self, split: str, *, shuffle: bool = False, passes: int = 1) -> ResumableLoader:
        dataset = self._datasets[split]
        dataset.stage1 = self._stage1_outputs()
        sampler = TileSampler(
            len(dataset),
            batch_size=self.batch_size,
            passes_per_epoch=passes,
            shuffle=shuffle,
            seed=self.seed,
            **self.place,
        )
        return ResumableLoader(dataset, sampler, num_workers=self.num_workers)
