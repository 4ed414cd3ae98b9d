"""Protein chains for training: what the `data` group of the configuration creates."""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from partoken.errors import UserError
from partoken.protein.batching import BatchSampler, count_batches
from partoken.protein.labels import SPLITS, Collection, choose_classes, encode_labels, from_columns
from partoken.protein.sources.arrays import read_arrays
from partoken.protein.splits import limit_rows, split_groups
from partoken.protein.store import ChainStore
from partoken.protein.structure import ChainBatch, collate
from partoken.training.checkpoint import ResumableLoader

__all__ = ["ChainDataset", "ProteinDataModule", "arrays", "embedded"]


class ChainDataset(Dataset):
    """Chains of one split; an item is a whole batch, asked for by the list of its rows.

    Arguments:
        store: where the chains are.
        rows: [n] the split's chains in the store.
        labels: int64 [n] or float32 [n, C].
    """

    def __init__(self, store: ChainStore, rows: np.ndarray, labels: np.ndarray) -> None:
        self.store = store
        self.rows = rows
        self.labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]: residues of each chain."""
        return self.store.lengths[self.rows]

    @property
    def ids(self) -> list[str]:
        """Names of the chains, in the order of `ChainBatch.index`."""
        return [self.store.ids[row] for row in self.rows]

    def __getitem__(self, batch: Sequence[int]) -> ChainBatch:
        return collate(self.store.read(self.rows[batch]), self.labels[batch], batch)


class ProteinDataModule(pl.LightningDataModule):
    """Labelled protein chains in three splits.

    Everything is read at `setup` or at the first question, once.

    Arguments:
        source: reads the chains and their labels.
        settings: how they are read, plain; travels in the checkpoint, so that new structures are read the same way.
        batch_size: chains a batch, unless `max_residues_per_batch` is given.
        num_workers: processes that load batches; 0 loads in the main process.
        seed: of splits, limits and shuffling.
        split: given, cluster or random; None takes the given splits, or else splits by cluster.
        fractions: shares of train, val and test where the split is made here.
        multi_label: a chain may belong to several classes.
        classes: learn these classes only; None learns all.
        min_class_size: leave out classes with fewer chains.
        limit: use about so many chains, of all splits and classes; for a quick look.
        max_residues_per_batch: fill batches with so many residues instead of `batch_size` chains.
        max_skipped: the run stops when a larger share of what was given cannot be used.

    Raises:
        UserError: at construction for values out of range; at `setup` for data that cannot be used.
    """

    def __init__(
        self,
        source: Callable[[], Collection],
        *,
        settings: Mapping[str, Any],
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        split: str | None = None,
        fractions: Sequence[float] = (0.7, 0.15, 0.15),
        multi_label: bool = False,
        classes: Sequence[Any] | None = None,
        min_class_size: int = 1,
        limit: int | None = None,
        max_residues_per_batch: int | None = None,
        max_skipped: float = 0.1,
    ) -> None:
        super().__init__()
        if split not in (None, "given", "cluster", "random"):
            raise UserError(f"data.split={split}: choose given, cluster, random or null")
        for name, value in (
            ("train.batch_size", batch_size),
            ("data.limit", limit),
            ("data.max_residues_per_batch", max_residues_per_batch),
            ("data.min_class_size", min_class_size),
        ):
            if value is not None and value < 1:
                raise UserError(f"{name}={value}: must be at least 1")
        if num_workers < 0:
            raise UserError(f"train.num_workers={num_workers}: must be 0 or more")
        if not 0 <= max_skipped <= 1:
            raise UserError(f"data.max_skipped={max_skipped}: a share between 0 and 1 is needed")
        self._source = source
        self._settings = dict(settings)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.split = split
        self.fractions = fractions
        self.multi_label = multi_label
        self.classes = classes
        self.min_class_size = min_class_size
        self.limit = limit
        self.max_residues_per_batch = max_residues_per_batch
        self.max_skipped = max_skipped

    def setup(self, stage: str | None = None) -> None:
        """Reads, labels and splits the chains, if that has not been done."""
        _ = self._datasets

    @cached_property
    def collection(self) -> Collection:
        """All that the source found, before classes and splits."""
        return self._source()

    @cached_property
    def _datasets(self) -> dict[str, ChainDataset]:
        found = self.collection
        self._check_skipped(found)
        self._class_names, self._dropped = choose_classes(found.labels, self.classes, self.min_class_size)
        known = set(self._class_names)
        labels = [tuple(name for name in names if name in known) for names in found.labels]
        kept = [i for i, names in enumerate(labels) if names]
        splits = self._split(found, kept, [labels[i][0] for i in kept])
        kept = [i for i, s in zip(kept, splits, strict=True) if s >= 0]
        splits = splits[splits >= 0]
        if self.limit is not None:
            chosen = limit_rows(splits, [labels[i][0] for i in kept], self.limit, seed=self.seed)
            kept, splits = [kept[c] for c in chosen], splits[chosen]
        datasets = {}
        for number, split in enumerate(SPLITS):
            members = [i for i, s in zip(kept, splits, strict=True) if s == number]
            encoded = encode_labels([labels[i] for i in members], self._class_names, self.multi_label)
            datasets[split] = ChainDataset(found.store, np.array([found.rows[i] for i in members], np.int64), encoded)
        self._check_splits(datasets)
        return datasets

    def _split(self, found: Collection, kept: list[int], classes: list[str]) -> np.ndarray:
        """Returns 0, 1 or 2 for each kept chain, -1 for one that belongs to no split."""
        how = self.split or ("given" if found.splits else "cluster")
        if how == "given":
            if found.splits is None:
                raise UserError("data.split=given: the table has no column split; choose cluster or random")
            return np.array([SPLITS.index(found.splits[i]) if found.splits[i] else -1 for i in kept])
        if how == "random":
            groups: Iterable[Any] = range(len(kept))
        elif found.clusters is not None:
            # A chain without a cluster stands alone.
            groups = [found.clusters[i] or f"alone {i}" for i in kept]
        else:
            raise UserError("data.split=cluster: the table has no column cluster")
        return split_groups(list(groups), classes, self.fractions, seed=self.seed)

    def _check_skipped(self, found: Collection) -> None:
        share = found.num_unusable / max(found.num_inputs, 1)
        if share <= self.max_skipped:
            return
        shown = [f"  {s.file or s.id}: {s.reason}" for s in found.skipped[:20]]
        more = [f"  and {len(found.skipped) - 20} more"] if len(found.skipped) > 20 else []
        raise UserError(
            "\n".join(
                [
                    f"{found.num_unusable} of {found.num_inputs} inputs ({share:.0%}) cannot be used, more than "
                    f"data.max_skipped={self.max_skipped:g} allows; mend them or raise it:",
                    *shown,
                    *more,
                ]
            )
        )

    def _check_splits(self, datasets: Mapping[str, ChainDataset]) -> None:
        hint = f" data.limit={self.limit} may be too small." if self.limit is not None else ""
        if empty := [split for split in SPLITS if not len(datasets[split])]:
            sizes = ", ".join(f"{split} {len(datasets[split])}" for split in SPLITS)
            raise UserError(
                f"the split {' and '.join(empty)} has no chain (found {sizes}).{hint or ' Change data.split.'}"
            )
        counts = _count(datasets["train"].labels, len(self._class_names))
        if missing := [name for name, count in zip(self._class_names, counts, strict=True) if count == 0]:
            raise UserError(
                f"no training chain has the class {', '.join(missing)}: leave it out with data.classes or "
                f"data.min_class_size, or split otherwise with data.split.{hint}"
            )

    @property
    def class_names(self) -> list[str]:
        """The classes, sorted by name; a label's number is its place here."""
        self.setup()
        return self._class_names

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def class_counts(self) -> dict[str, list[int]]:
        """Chains of each class in each split."""
        return {split: _count(data.labels, self.num_classes) for split, data in self._datasets.items()}

    @property
    def majority_accuracy(self) -> float:
        """Share of the test chains that have the most frequent training class."""
        counts = self.class_counts
        return counts["test"][int(np.argmax(counts["train"]))] / len(self._datasets["test"])

    @property
    def skipped(self) -> list[dict[str, str]]:
        """What was given and is not used: id, file, reason."""
        return [{"id": s.id, "file": s.file, "reason": s.reason} for s in self.collection.skipped]

    def settings(self) -> dict[str, Any]:
        """Returns what a checkpoint must hold to read and name new structures as these were: plain values."""
        return {
            "class_names": self.class_names,
            "class_counts": self.class_counts,
            "multi_label": self.multi_label,
            **self._settings,
        }

    def report(self) -> dict[str, Any]:
        """Returns what was read, what was left out and why, and what each split holds: plain values."""
        found, datasets = self.collection, self._datasets
        lengths = np.concatenate([d.lengths for d in datasets.values()])
        return {
            **self._settings,
            **found.facts,
            "chains_read": len(found.store),
            "chains_used": len(lengths),
            "residues_used": int(lengths.sum()),
            "length": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
            "left_out": {
                "without_label": sum(not names for names in found.labels),
                "other_classes": dict(self._dropped),
                "unusable": dict(Counter(s.reason for s in found.skipped)),
            },
            "classes": self.class_names,
            "chains": {split: len(data) for split, data in datasets.items()},
            "class_counts": self.class_counts,
            "majority_accuracy": self.majority_accuracy,
        }

    def describe(self) -> list[str]:
        """Returns the report in a few lines."""
        report = self.report()
        counts = self.class_counts
        chains = ", ".join(f"{split} {len(data)}" for split, data in self._datasets.items())
        names = ", ".join(
            f"{name} ({' / '.join(str(counts[split][i]) for split in SPLITS)})"
            for i, name in enumerate(self.class_names[:12])
        )
        more = f", and {self.num_classes - 12} more" if self.num_classes > 12 else ""
        out = report["left_out"]
        lines = [
            f"data: {report['chains_used']:,} chains, {report['residues_used']:,} residues ({chains})",
            f"classes (train / val / test): {names}{more}",
        ]
        if out["without_label"] or out["other_classes"]:
            other = sum(out["other_classes"].values())
            lines.append(f"left out: {out['without_label']} chains without a label, {other} of classes not learned")
        if found := len(self.collection.skipped):
            lines.append(f"skipped: {found}, listed with reasons in skipped.csv")
        if self.max_residues_per_batch is not None:
            lines.append(
                f"batches of up to {self.max_residues_per_batch:,} residues; "
                f"train.batch_size={self.batch_size} is not used"
            )
        return lines

    def write_report(self, folder: str | os.PathLike[str]) -> None:
        """Writes `skipped.csv` and, where the data can be used, `data_report.json`."""
        folder = Path(folder)
        with open(folder / "skipped.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, ("id", "file", "reason"))
            writer.writeheader()
            writer.writerows(self.skipped)
        if "_datasets" in self.__dict__:
            (folder / "data_report.json").write_text(json.dumps(self.report(), indent=2) + "\n")

    def num_train_batches(self, world_size: int = 1) -> int:
        """Returns the batches of a training epoch on each device."""
        lengths = self._datasets["train"].lengths
        return count_batches(lengths, self.batch_size, self.max_residues_per_batch, world_size) // world_size

    def train_dataloader(self) -> DataLoader:
        """Loads the training chains, in another order each epoch."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """Loads the validation chains."""
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader:
        """Loads the test chains."""
        return self._loader("test", shuffle=False)

    def dataset(self, split: str) -> ChainDataset:
        """Returns the chains of train, val or test."""
        return self._datasets[split]

    def _loader(self, split: str, *, shuffle: bool) -> DataLoader:
        dataset = self._datasets[split]
        sampler = BatchSampler(
            dataset.lengths,
            batch_size=self.batch_size,
            max_residues=self.max_residues_per_batch,
            shuffle=shuffle,
            seed=self.seed,
            world_size=self.trainer.world_size if self.trainer else 1,
            rank=self.trainer.global_rank if self.trainer else 0,
        )
        return ResumableLoader(
            dataset,
            sampler,  # says which chains go together
            collate_fn=_unchanged,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


def embedded(
    label_column: str = "cath_class", label_depth: int | None = None, multi_label: bool = False, **options: Any
) -> ProteinDataModule:
    """Creates the data module of the chains that ship with the package; see NOTICE for where they come from.

    Arguments:
        label_column: `cath_class`, `ec_top`, `ss_class` or another column of the table.
        label_depth: keep so many levels of a hierarchical label.
        multi_label: several labels of a chain are separated by semicolons.
        options: of `ProteinDataModule`.
    """
    path = Path(str(resources.files("partoken.data") / "chains.npz"))
    return _from_arrays("embedded", path, None, label_column, label_depth, multi_label, options)


def arrays(
    path: str,
    label_column: str,
    table: str | None = None,
    label_depth: int | None = None,
    multi_label: bool = False,
    **options: Any,
) -> ProteinDataModule:
    """Creates the data module of an NPZ file of chains; its format stands in `sources.arrays`.

    Arguments:
        path: the NPZ file.
        label_column: the column of the table with the label.
        table: the CSV file; None takes the one of the same name beside the NPZ file.
        label_depth: keep so many levels of a hierarchical label.
        multi_label: several labels of a chain are separated by semicolons.
        options: of `ProteinDataModule`.
    """
    return _from_arrays("arrays", path, table, label_column, label_depth, multi_label, options)


def _from_arrays(
    name: str, path: Any, table: Any, label_column: str, depth: int | None, multi_label: bool, options: dict[str, Any]
) -> ProteinDataModule:
    def read() -> Collection:
        store = ChainStore.of(read_arrays(path, table))
        where = str(table or Path(path).with_suffix(".csv"))
        return from_columns(store, label_column, where=where, label_depth=depth, multi_label=multi_label)

    settings = {"source": name, "label_column": label_column, "label_depth": depth}
    return ProteinDataModule(read, settings=settings, multi_label=multi_label, **options)


def _count(labels: torch.Tensor, num_classes: int) -> list[int]:
    if labels.ndim == 2:
        return labels.sum(0).long().tolist()
    return torch.bincount(labels, minlength=num_classes).tolist()


def _unchanged(batch: ChainBatch) -> ChainBatch:
    return batch
