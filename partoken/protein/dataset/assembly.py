"""From the labelled chains of a source to a data set for each split."""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from partoken.errors import UserError
from partoken.protein.chains.batch import ChainBatch, collate
from partoken.protein.chains.cache import cached_numbers
from partoken.protein.chains.collection import SPLITS, Collection
from partoken.protein.chains.features import ResidueFeatures
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.labels import (
    choose_classes,
    count_classes,
    encode_labels,
    keep_classes,
    name_classes,
)
from partoken.protein.dataset.options import DataOptions
from partoken.protein.dataset.similarity import CLUSTER_VERSION, cluster_sequences
from partoken.protein.dataset.splits import split_groups
from partoken.system.skipped import Skipped
from partoken.training.limit import limit_rows

__all__ = ["ChainDataset", "Selection", "build_datasets", "select_chains"]


class ChainDataset(Dataset):
    """The chains of one split. An item is a whole batch, and its index is the list of the batch's positions.

    Arguments:
        store: chains of all splits.
        rows: rows of the store that belong to the split, int64 [n].
        labels: class numbers, int64 [n], or zeros and ones, float32 [n, C]; None: labels do not matter.
        features: residue features of all these chains; None: there are none.
    """

    def __init__(
        self,
        store: ChainStore,
        rows: np.ndarray,
        labels: np.ndarray | None,
        features: ResidueFeatures | None = None,
    ) -> None:
        self.store = store
        self.features = features
        self.rows = rows
        self.labels = None if labels is None else torch.from_numpy(labels)
        self.embeddings: ResidueFeatures | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]: number of residues of each chain."""
        return self.store.lengths[self.rows]

    @property
    def ids(self) -> list[str]:
        """Names of the chains; `ChainBatch.index` counts in this order."""
        return [self.store.ids[row] for row in self.rows]

    def __getitem__(self, batch: Sequence[int]) -> ChainBatch:
        labels = None if self.labels is None else self.labels[batch]
        chains, share = self.store.read(self.rows[batch]), getattr(batch, "share", None)
        if self.embeddings is not None:
            embedding = np.concatenate(list(self.embeddings.read_all(chain.id for chain in chains)))
            return replace(collate(chains, labels, batch, share), embedding=torch.from_numpy(embedding))
        features = None if self.features is None else self.features.read_all(chain.id for chain in chains)
        return collate(chains, labels, batch, share, features)


@dataclass(frozen=True)
class Selection:
    """The n chains that a run uses, and the reasons why others are left out."""

    rows: list[int]
    """[n]: rows of the store."""
    labels: list[tuple[str, ...]]
    """[n]: labels of each chain, learned classes only."""
    splits: np.ndarray
    """int64 [n]: 0 for train, 1 for val, 2 for test."""
    class_labels: list[str]
    """[C]: labels of the learned classes, sorted; a class number is a place here."""
    class_names: list[str]
    """[C]: names of the learned classes."""
    dropped: dict[str, int]
    """Number of chains by the name of each class that is not learned."""
    skipped: list[Skipped]
    """Chains whose class has no training chain."""


def select_chains(collection: Collection, options: DataOptions, seed: int) -> Selection:
    """Chooses classes, deals their chains to the splits, and applies `data.limit`.

    A class without a training chain cannot be learned: its labels are removed from the other splits.

    Arguments:
        collection: labelled chains.
        options: the options of `data`.
        seed: seed of the splits and of the limit.

    Raises:
        UserError: the options name a class or a split that the collection does not have, or fewer than two classes are
            left.
    """
    if options.unlabelled:
        return _select_unlabelled(collection, options, seed)
    names = name_classes(collection.labels, collection.class_names, options.class_names)
    classes, dropped = choose_classes(collection.labels, names, options.classes, options.min_class_size)
    labels = keep_classes(collection.labels, classes)
    kept = [i for i, labels_of_chain in enumerate(labels) if labels_of_chain]
    splits = _assign_splits(collection, kept, [labels[i][0] for i in kept], options, seed)

    pairs = list(zip(kept, splits, strict=True))
    in_training = {label for i, split in pairs if split == 0 for label in labels[i]}
    untrained = [(i, label) for i, split in pairs if split > 0 for label in labels[i] if label not in in_training]
    dropped.update(label for _, label in untrained)
    classes = [label for label in classes if label in in_training]
    labels = keep_classes(labels, classes)
    used = [k for k, (i, split) in enumerate(pairs) if split >= 0 and labels[i]]
    if options.limit is not None:
        chosen = limit_rows(splits[used], [labels[kept[k]][0] for k in used], options.limit, seed=seed)
        used = [used[c] for c in chosen]
    return Selection(
        rows=[collection.rows[kept[k]] for k in used],
        labels=[labels[kept[k]] for k in used],
        splits=splits[used],
        class_labels=classes,
        class_names=[names[label] for label in classes],
        dropped={names[label]: count for label, count in dropped.items()},
        skipped=[_skip_untrained(collection, i, names[label]) for i, label in untrained],
    )


def _select_unlabelled(collection: Collection, options: DataOptions, seed: int) -> Selection:
    """Selects all chains that have a split, whatever their labels."""
    kept = range(len(collection.rows))
    splits = _assign_splits(collection, kept, [""] * len(kept), options, seed)
    used = np.flatnonzero(splits >= 0)
    if options.limit is not None:
        used = used[limit_rows(splits[used], [""] * len(used), options.limit, seed=seed)]
    return Selection(
        rows=[collection.rows[i] for i in used],
        labels=[() for _ in used],
        splits=splits[used],
        class_labels=[],
        class_names=[],
        dropped={},
        skipped=[],
    )


def _skip_untrained(collection: Collection, i: int, class_name: str) -> Skipped:
    """Returns why a label of chain `i` is not used."""
    chain_id = collection.store.ids[collection.rows[i]]
    return Skipped(chain_id, "", f"no training chain has its class {class_name}", unusable=False)


def build_datasets(
    store: ChainStore,
    selection: Selection,
    options: DataOptions,
    features: ResidueFeatures | None = None,
) -> dict[str, ChainDataset]:
    """Creates the data set of each split and checks that all can be used.

    Arguments:
        store: chains of all splits.
        selection: the chains to use.
        options: the options of `data`.
        features: residue features of the chains to use; None: there are none.

    Returns:
        Data sets by split: train, val, test.

    Raises:
        UserError: a split is empty, a class has no training chain, or there are fewer than two classes.
    """
    if len(selection.class_labels) == 1:
        raise UserError(
            f"all training chains have the class {selection.class_names[0]}, at least two classes are needed: "
            "change data.split"
        )
    datasets = {}
    for number, split in enumerate(SPLITS):
        members = np.flatnonzero(selection.splits == number)
        labels = [selection.labels[i] for i in members]
        encoded = None if options.unlabelled else encode_labels(labels, selection.class_labels, options.multi_label)
        rows = np.array([selection.rows[i] for i in members], np.int64)
        datasets[split] = ChainDataset(store, rows, encoded, features)
    _check_splits(datasets, selection.class_names, options.limit)
    return datasets


def _assign_splits(
    collection: Collection,
    kept: Sequence[int],
    classes: Sequence[str],
    options: DataOptions,
    seed: int,
) -> np.ndarray:
    """Returns the split of each kept chain, int64: 0, 1 or 2, or -1 for a chain in no split."""
    kind = options.split or ("given" if collection.splits else "cluster")
    if kind == "given":
        if collection.splits is None:
            raise UserError("data.split=given: the table has no column split; choose cluster or random")
        given = [collection.splits[i] for i in kept]
        return np.array([SPLITS.index(split) if split else -1 for split in given], dtype=np.int64)
    groups: Sequence[Hashable] = range(len(kept))
    if kind == "cluster":
        groups = _clusters(collection, kept, options)
    return split_groups(groups, classes, options.fractions, seed=seed)


def _clusters(collection: Collection, kept: Sequence[int], options: DataOptions) -> list[Hashable]:
    """Returns the cluster of each kept chain: the source's own, or computed from the sequences."""
    if collection.clusters is not None:
        # A chain without a cluster is a group of its own.
        return [collection.clusters[i] or f"alone {i}" for i in kept]
    sequences = collection.store.sequences(collection.rows[i] for i in kept)
    digest = hashlib.sha256(b"|".join(s.tobytes() for s in sequences)).hexdigest()
    clusters = cached_numbers(
        "clusters",
        [CLUSTER_VERSION, options.cluster_identity, digest],
        lambda: cluster_sequences(sequences, options.cluster_identity),
        options.cache_dir,
    )
    return clusters.tolist()


def _check_splits(datasets: Mapping[str, ChainDataset], class_names: Sequence[str], limit: int | None) -> None:
    """Raises a UserError if a split is empty or a class has no training chain."""
    hint = "" if limit is None else f" data.limit={limit} may be too small."
    empty = [split for split, dataset in datasets.items() if not len(dataset)]
    if empty:
        sizes = ", ".join(f"{split} {len(dataset)}" for split, dataset in datasets.items())
        raise UserError(
            f"the split {' and '.join(empty)} has no chain (chains: {sizes}).{hint or ' Change data.split.'}"
        )
    if not class_names:
        return
    counts = count_classes(datasets["train"].labels, len(class_names))
    missing = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if missing:
        raise UserError(
            f"no training chain has the class {', '.join(missing)}: leave it out with data.classes or "
            f"data.min_class_size, or change data.split.{hint}"
        )
