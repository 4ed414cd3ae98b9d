"""Labelled protein chains in three splits, loaded in batches."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from partoken.errors import UserError
from partoken.protein.chains.batch import ChainBatch
from partoken.protein.chains.cache import cached_numbers
from partoken.protein.chains.collection import SPLITS, Collection
from partoken.protein.dataset.assembly import ChainDataset
from partoken.protein.dataset.batching import BatchSampler, count_batches
from partoken.protein.dataset.labels import choose_classes, encode_labels
from partoken.protein.dataset.report import count_classes, data_report, describe_report
from partoken.protein.dataset.similarity import CLUSTER_VERSION, cluster_sequences
from partoken.protein.dataset.splits import limit_rows, split_groups
from partoken.system.files import write_json
from partoken.system.skipped import Skipped, check_skipped, write_skipped
from partoken.training.resume import ResumableDataModule, ResumableLoader

__all__ = ["ProteinDataModule"]


class ProteinDataModule(ResumableDataModule):
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
        epochs_per_pass: epochs of training that share a pass over the chains; 1: every epoch sees every chain.
        cluster_identity: of the sequences of two chains that must not be in different splits, where the split is by
            cluster and the source names no clusters.
        max_skipped: the run stops when a larger share of what was given cannot be used.
        cache_dir: where what takes long is kept; None takes the user's cache folder.

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
        epochs_per_pass: int = 1,
        cluster_identity: float = 0.3,
        max_skipped: float = 0.1,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if split not in (None, "given", "cluster", "random"):
            raise UserError(f"data.split={split}: choose given, cluster, random or null")
        for name, value in (
            ("train.batch_size", batch_size),
            ("data.limit", limit),
            ("data.max_residues_per_batch", max_residues_per_batch),
            ("data.epochs_per_pass", epochs_per_pass),
            ("data.min_class_size", min_class_size),
        ):
            if value is not None and value < 1:
                raise UserError(f"{name}={value}: must be at least 1")
        if num_workers < 0:
            raise UserError(f"train.num_workers={num_workers}: must be 0 or more")
        for name, share in (("max_skipped", max_skipped), ("cluster_identity", cluster_identity)):
            if not 0 <= share <= 1:
                raise UserError(f"data.{name}={share}: must be between 0 and 1")
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
        self.epochs_per_pass = epochs_per_pass
        self.cluster_identity = cluster_identity
        self.max_skipped = max_skipped
        self.cache_dir = cache_dir

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
        check_skipped(found.skipped, found.num_inputs, self.max_skipped)
        self._class_names, self._dropped = choose_classes(found.labels, self.classes, self.min_class_size)
        labels = _only(found.labels, self._class_names)
        kept = [i for i, names in enumerate(labels) if names]
        splits = self._split(found, kept, [labels[i][0] for i in kept])
        trained = {name for i, s in zip(kept, splits, strict=True) if s == 0 for name in labels[i]}
        later = [i for i, s in zip(kept, splits, strict=True) if s > 0]
        unknown = [(found.rows[i], name) for i in later for name in labels[i] if name not in trained]
        self._dropped |= Counter(name for _, name in unknown)
        found.skipped = [
            *found.skipped,
            *(
                Skipped(found.store.ids[r], "", f"no training chain has its class {c}", unusable=False)
                for r, c in unknown
            ),
        ]
        self._class_names = [name for name in self._class_names if name in trained]
        if len(self._class_names) == 1:
            raise UserError(
                f"all training chains have the class {self._class_names[0]}: at least two classes are needed; "
                "change data.split"
            )
        labels = _only(labels, self._class_names)
        splits = np.array([s if labels[i] else -1 for i, s in zip(kept, splits, strict=True)], np.int64)
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
            sequences = found.store.sequences(found.rows[i] for i in kept)
            digest = hashlib.sha256(b"|".join(s.tobytes() for s in sequences)).hexdigest()
            groups = cached_numbers(
                "clusters",
                [CLUSTER_VERSION, self.cluster_identity, digest],
                lambda: cluster_sequences(sequences, self.cluster_identity),
                self.cache_dir,
            ).tolist()
        return split_groups(list(groups), classes, self.fractions, seed=self.seed)

    def _check_splits(self, datasets: Mapping[str, ChainDataset]) -> None:
        hint = f" data.limit={self.limit} may be too small." if self.limit is not None else ""
        if empty := [split for split in SPLITS if not len(datasets[split])]:
            sizes = ", ".join(f"{split} {len(datasets[split])}" for split in SPLITS)
            raise UserError(
                f"the split {' and '.join(empty)} has no chain (found {sizes}).{hint or ' Change data.split.'}"
            )
        counts = count_classes(datasets["train"].labels, len(self._class_names))
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
        return {split: count_classes(data.labels, self.num_classes) for split, data in self._datasets.items()}

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
            "train_chains": len(self._datasets["train"]),
            "multi_label": self.multi_label,
            "source": self._settings,
        }

    @cached_property
    def _report(self) -> dict[str, Any]:
        return {
            "source": self._settings,
            **data_report(self.collection, self._datasets, self.class_names, self._dropped),
        }

    def report(self) -> dict[str, Any]:
        """Returns what was read, what was left out and why, what each split holds and leaks: plain values."""
        return self._report | {"class_counts": self.class_counts, "majority_accuracy": self.majority_accuracy}

    def describe(self) -> list[str]:
        """Returns the report in a few lines."""
        lines = describe_report(self.report())
        if self.max_residues_per_batch is not None:
            limit = f"{self.max_residues_per_batch:,} residues"
            lines.append(f"batches of up to {limit}; train.batch_size={self.batch_size} is not used")
        return lines

    def write_report(self, folder: str | os.PathLike[str]) -> None:
        """Writes `skipped.csv` and, where the data can be used, `data_report.json`.

        Also right after `setup` raised: the list then says what to mend.
        """
        if "collection" in self.__dict__:
            write_skipped(Path(folder, "skipped.csv"), self.collection.skipped)
        if "_datasets" in self.__dict__:
            write_json(Path(folder, "data_report.json"), self.report())

    def num_train_batches(self, world_size: int = 1) -> int:
        """Returns the batches of a training epoch on each device."""
        lengths = self._datasets["train"].lengths
        shares = world_size * self.epochs_per_pass
        return count_batches(lengths, self.batch_size, self.max_residues_per_batch, shares) // shares

    def train_dataloader(self) -> DataLoader:
        """Loads the training chains, in another order each epoch."""
        return self.resumable(self._loader("train", shuffle=True))

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
            epochs_per_pass=self.epochs_per_pass if split == "train" else 1,
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


def _only(labels: Sequence[tuple[str, ...]], names: Sequence[str]) -> list[tuple[str, ...]]:
    known = set(names)
    return [tuple(name for name in some if name in known) for some in labels]


def _unchanged(batch: ChainBatch) -> ChainBatch:
    return batch
