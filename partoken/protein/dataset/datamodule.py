"""The data module of protein chains: reads a source, reports on it, and loads batches."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from partoken.protein.chains.batch import ChainBatch, is_labelled
from partoken.protein.chains.collection import Collection
from partoken.protein.chains.features import ResidueFeatures, open_features
from partoken.protein.chains.label_spec import by_name
from partoken.protein.dataset.assembly import (
    ChainDataset,
    Selection,
    build_datasets,
    read_rows,
    select_chains,
)
from partoken.protein.dataset.batching import BatchSampler, count_batches
from partoken.protein.dataset.embeddings import open_embeddings
from partoken.protein.dataset.families import mark_seen
from partoken.protein.dataset.folds import open_compositions, open_folds
from partoken.protein.dataset.joining import join_features
from partoken.protein.dataset.labels import count_classes
from partoken.protein.dataset.options import DataOptions
from partoken.protein.dataset.report import data_report, describe_report
from partoken.protein.dataset.surroundings import open_surroundings
from partoken.system.files import write_json
from partoken.system.skipped import Skipped, check_skipped, write_skipped
from partoken.training.resume import ResumableDataModule, ResumableLoader

__all__ = ["ProteinDataModule"]

log = logging.getLogger(__name__)


class ProteinDataModule(ResumableDataModule):
    """Labelled protein chains in three splits.

    The chains are read once: by `setup`, or by the first property that needs them.

    See also:
        `partoken.training.domain.DataModule`: the contract with the engine.

    Arguments:
        read_source: reads the chains and their labels.
        options: the options of `data` that every source has.
        provenance: plain values that describe the source; the checkpoint keeps them, so that predictions read new
            structures with the same limits.
        batch_size: number of chains in a batch, unless `options.max_residues_per_batch` is set.
        num_workers: number of processes that load batches; 0 loads in the main process.
        seed: seed of splits, limit and shuffling.
        download: downloads the files of the source if they are missing; None: the source has no download.
    """

    def __init__(
        self,
        read_source: Callable[[], Collection],
        options: DataOptions | None = None,
        *,
        provenance: Mapping[str, Any],
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        download: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__()
        self.options = options or DataOptions()
        self.provenance = dict(provenance)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self._encoder: str | None = None
        self._read_source = read_source
        self._download = download

    def prepare_data(self) -> None:
        """Downloads the files of the source if they are missing.

        Raises:
            UserError: a missing file cannot be downloaded.
        """
        if self._download is not None:
            self._download()

    def setup(self, stage: str) -> None:
        """Reads, labels and splits the chains, unless that is done; `stage` does not matter.

        Raises:
            UserError: the data cannot be used.
        """
        _ = self._datasets

    @cached_property
    def collection(self) -> Collection:
        """All chains of the source, before classes and splits are chosen; without those that lack residue features."""
        read = self._read_source()
        if self.residue_features is None:
            return read
        return join_features(read, self.residue_features, unlabelled=self.options.unlabelled)

    @cached_property
    def residue_features(self) -> ResidueFeatures | None:
        """Further features of the residues; None: there are none."""
        path = self.options.residue_features
        return None if path is None else open_features(path)

    @cached_property
    def selection(self) -> Selection:
        """The chains in use."""
        read = self.collection
        check_skipped(read.skipped, read.num_inputs, self.options.max_skipped)
        return select_chains(read, self.options, self.seed)

    @cached_property
    def _datasets(self) -> dict[str, ChainDataset]:
        return build_datasets(self.collection.store, self.selection, self.options, self.residue_features)

    def dataset(self, split: str) -> ChainDataset:
        """Returns the chains of train, val or test."""
        return self._datasets[split]

    @property
    def longest(self) -> int:
        """Residues of the longest chain in use."""
        return max(int(data.lengths.max()) for data in self._datasets.values())

    @property
    def class_names(self) -> list[str]:
        """Names of the classes of a single label by class number, in the order of their labels."""
        self.setup("fit")
        return self.selection.only.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes of a single label."""
        return len(self.class_names)

    @property
    def class_counts(self) -> dict[str, list[int]]:
        """Number of chains of each class of a single label, by split."""
        return self.count_label("")

    def count_label(self, name: str) -> dict[str, list[int]]:
        """Returns the number of chains of each class of a label, by split."""
        number = len(self.selection.labels[name].class_names)
        return {split: count_classes(data.labels[name], number) for split, data in self._datasets.items()}

    @property
    def majority_accuracy(self) -> float:
        """Fraction of the test chains in the most frequent training class of a single label."""
        return self._majority_accuracy("")

    def _majority_accuracy(self, name: str) -> float:
        counts = self.count_label(name)
        majority = int(np.argmax(counts["train"]))
        return counts["test"][majority] / self._num_labelled("test", name)

    def _num_labelled(self, split: str, name: str) -> int:
        """Counts the chains of a split that have a label."""
        return int(is_labelled(self._datasets[split].labels[name]).sum())

    @property
    def skipped(self) -> list[Skipped]:
        """Inputs of the source and chains that are not used, with the reason for each."""
        return [*self.collection.skipped, *self.selection.skipped]

    def settings(self) -> dict[str, Any]:
        """Returns plain values that the checkpoint keeps, so that predictions read and name chains in the same way.

        They are those of a single label; or `labels`, those of each of several by its name, with its weight. There are
        none if labels do not matter.
        """
        self.setup("fit")
        features = self.residue_features
        common = {
            "residue_features": None if features is None else {"width": features.width},
            "source": self.provenance,
        }
        if self.options.unlabelled:
            return common
        if "" in self.selection.labels:
            return {**self._label_settings(""), **common}
        labels = {
            name: {**self._label_settings(name), "weight": float(label.spec.weight)}
            for name, label in self.selection.labels.items()
        }
        return {"labels": labels, **common}

    def _label_settings(self, name: str) -> dict[str, Any]:
        label = self.selection.labels[name]
        return {
            "class_names": label.class_names,
            "class_counts": self.count_label(name),
            "train_chains": self._num_labelled("train", name),
            "multi_label": label.spec.multi_label,
        }

    @cached_property
    def _data_report(self) -> dict[str, Any]:
        return data_report(self.collection, self.selection, self._datasets)

    def report(self) -> dict[str, Any]:
        """Returns the numbers of chains read, used and left out, and how similar the splits are, as plain values.

        What concerns a single label is given for each, by its name, if there are several.
        """
        report = {"source": self.provenance, **self._data_report}
        if self.options.unlabelled:
            return report
        names = list(self.selection.labels)
        counts = {name: self.count_label(name) for name in names}
        majority = {name: self._majority_accuracy(name) for name in names}
        return {**report, "class_counts": by_name(counts), "majority_accuracy": by_name(majority)}

    def describe(self) -> list[str]:
        """Returns the report as a few lines for the log."""
        lines = describe_report(self.report())
        if self.options.label_columns is not None and not self.options.unlabelled:
            lines.append("several labels are learned, data.label_columns; data.label_column is not used")
        features, max_residues = self.residue_features, self.options.max_residues_per_batch
        if features is not None:
            lines.append(f"residue features: {features.width} {features.dtype} values per residue from {features.path}")
        if max_residues is not None:
            lines.append(f"batches of up to {max_residues:,} residues; train.batch_size={self.batch_size} is not used")
        return lines

    def write_report(self, folder: Path) -> None:
        """Writes `skipped.csv` and, if the data can be used, `data_report.json` into the run folder.

        If `setup` has raised an error, the list shows which inputs to repair.
        """
        if "collection" in self.__dict__:
            has_selection = "selection" in self.__dict__
            skipped = self.skipped if has_selection else self.collection.skipped
            write_skipped(Path(folder, "skipped.csv"), skipped)
        if "_datasets" in self.__dict__:
            write_json(Path(folder, "data_report.json"), self.report())

    def num_train_batches(self, world_size: int) -> int:
        """Returns the number of training batches of an epoch on each of `world_size` devices; reads the data.

        Raises:
            UserError: the data cannot be used, or there are too few chains for the devices.
        """
        num_slots = world_size * self.options.epochs_per_pass
        lengths, max_residues = self._datasets["train"].lengths, self.options.max_residues_per_batch
        return count_batches(lengths, self.batch_size, max_residues, num_slots) // num_slots

    def train_dataloader(self) -> DataLoader[Any]:
        """Loads the training chains, in a different order each epoch."""
        loader = self._loader("train", shuffle=True, epochs_per_pass=self.options.epochs_per_pass)
        return self.resumable(loader)

    def read_training(self, rows: Sequence[int]) -> ChainBatch:
        """Returns a batch of training chains.

        Arguments:
            rows: as `ChainBatch.index` counts them.
        """
        return self._datasets["train"][rows]

    def val_dataloader(self) -> DataLoader[Any]:
        """Loads the validation chains."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Loads the test chains."""
        return self._loader("test")

    def embed(self, encoder: str, encode: Callable[[ChainBatch], Tensor], width: int) -> None:
        """Adds to all batches from now on the residue embeddings of a frozen encoder; see `open_embeddings`.

        Arguments:
            encoder: digest of the encoder.
            encode: computes the embeddings of the N residues of a batch, float32 [N, D].
            width: number D of values for a residue.

        Raises:
            UserError: the cache folder cannot be written.
        """
        if self._encoder == encoder:
            return
        store, folder = self.collection.store, self.options.cache_dir
        embeddings = open_embeddings(store, self._rows, encoder, encode, width, folder, self.residue_features)
        for data in self._datasets.values():
            data.embeddings = embeddings
        self._encoder = encoder
        log.info("residue features of the frozen encoder, computed once: %s", embeddings.path)

    @cached_property
    def folds(self) -> ResidueFeatures:
        """Fold geometry of all chains in use, one row per chain; computed once and kept in the cache folder.

        Raises:
            UserError: the cache folder cannot be written.
        """
        return open_folds(self.collection.store, self._rows, self.options.cache_dir)

    def train_folds(self) -> Tensor:
        """Returns the fold geometry of the n training chains, float32 [n, FOLD_WIDTH]."""
        return read_rows(self.folds, self._datasets["train"].ids)

    def add_folds(self) -> None:
        """Adds the fold geometry of the chains to all batches from now on: `ChainBatch.fold`.

        Raises:
            UserError: the cache folder cannot be written.
        """
        for data in self._datasets.values():
            data.folds = self.folds

    def seen_families(self, split: str) -> Tensor | None:
        """Marks the n chains of a split by whether training sees their family; None: `data.family` names no column.

        Returns:
            int8 `[n]`: 1 for a chain of a seen family, 0 for one of an unseen family, -1 for one without a family.
        """
        families = self.collection.families
        return None if families is None else mark_seen(families, self._datasets)[split]

    def add_surroundings(self) -> None:
        """Adds the surroundings of the residues to all batches from now on: `ChainBatch.surroundings`.

        Raises:
            UserError: the cache folder cannot be written.
        """
        if self._datasets["train"].surroundings is not None:
            return
        opened = open_surroundings(self.collection.store, self._rows, self.options.cache_dir)
        for data in self._datasets.values():
            data.surroundings = opened

    def describe_chains(self, split: str) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        """Returns numbers of the n chains of a split, for regressions; None with `data.baselines=false`.

        Returns:
            `composition` and `fold`, float32 `[n, D]`; and the labels of the chains, see `ChainBatch.labels`.

        Raises:
            UserError: the cache folder cannot be written.
        """
        if not self.options.baselines:
            return None
        data = self._datasets[split]
        opened = {"composition": self._compositions, "fold": self.folds}
        return {name: read_rows(numbers, data.ids) for name, numbers in opened.items()}, data.labels

    @cached_property
    def _compositions(self) -> ResidueFeatures:
        return open_compositions(self.collection.store, self._rows, self.options.cache_dir)

    @property
    def _rows(self) -> np.ndarray:
        """int64 [n]: rows of the store with the chains in use, sorted."""
        return np.sort(np.concatenate([data.rows for data in self._datasets.values()]))

    def _loader(self, split: str, *, shuffle: bool = False, epochs_per_pass: int = 1) -> ResumableLoader:
        dataset = self._datasets[split]
        sampler = BatchSampler(
            dataset.lengths,
            batch_size=self.batch_size,
            max_residues=self.options.max_residues_per_batch,
            epochs_per_pass=epochs_per_pass,
            shuffle=shuffle,
            seed=self.seed,
            **self.place,
        )
        return ResumableLoader(dataset, sampler, num_workers=self.num_workers)
