"""From the labelled chains of a source to a data set for each split."""

import hashlib
import logging
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from partoken.errors import UserError
from partoken.protein.chains.batch import ChainBatch, collate, is_labelled
from partoken.protein.chains.cache import cached_numbers
from partoken.protein.chains.collection import SPLITS, Collection
from partoken.protein.chains.features import ResidueFeatures
from partoken.protein.chains.label_spec import LabelSpec
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.balancing import cluster_weights
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

log = logging.getLogger(__name__)

__all__ = ["ChainDataset", "SelectedLabel", "Selection", "build_datasets", "read_rows", "select_chains"]


class ChainDataset(Dataset):
    """The chains of one split. An item is a whole batch, and its index is the list of the batch's positions.

    Arguments:
        store: chains of all splits.
        rows: rows of the store that belong to the split, int64 [n].
        labels: labels of the n chains by name, in the form of `encode_labels`; {} if they do not matter.
        features: residue features of all these chains; None: there are none.
        weights: weights of the n chains in the loss, float32 [n]; None: all chains count the same.
    """

    def __init__(
        self,
        store: ChainStore,
        rows: np.ndarray,
        labels: Mapping[str, np.ndarray],
        features: ResidueFeatures | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.store = store
        self.weights = None if weights is None else torch.from_numpy(weights)
        self.features = features
        self.rows = rows
        self.labels = {name: torch.from_numpy(encoded) for name, encoded in labels.items()}
        self.embeddings: ResidueFeatures | None = None
        self.folds: ResidueFeatures | None = None
        self.surroundings: ResidueFeatures | None = None

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
        labels = {name: encoded[batch] for name, encoded in self.labels.items()}
        chains, share = self.store.read(self.rows[batch]), getattr(batch, "share", None)
        ids = [chain.id for chain in chains]
        features = self.features if self.embeddings is None else None  # embeddings already depend on the features
        joined = collate(chains, labels, batch, share, None if features is None else features.read_all(ids))
        return replace(
            joined,
            weights=None if self.weights is None else self.weights[batch],
            embedding=None if self.embeddings is None else read_rows(self.embeddings, ids),
            fold=None if self.folds is None else read_rows(self.folds, ids),
            surroundings=None if self.surroundings is None else read_rows(self.surroundings, ids),
        )


def read_rows(features: ResidueFeatures, ids: Sequence[str]) -> torch.Tensor:
    """Reads the rows of some chains one after another, float32 [rows, D]."""
    return torch.from_numpy(np.concatenate(list(features.read_all(ids))))


@dataclass(frozen=True)
class SelectedLabel:
    """The classes of one label that a run learns, and the labels of its n chains."""

    spec: LabelSpec
    """Where the label stands and how it is learned."""
    of_chains: list[tuple[str, ...]]
    """[n]: labels of each chain, learned classes only; () for an unlabelled chain."""
    class_labels: list[str]
    """[C]: labels of the learned classes, sorted; a class number is a place here."""
    class_names: list[str]
    """[C]: names of the learned classes."""
    dropped: dict[str, int]
    """Number of chains by the name of each class that is not learned."""


@dataclass(frozen=True)
class Selection:
    """The n chains that a run uses, and the reasons why others are left out."""

    rows: list[int]
    """[n]: rows of the store."""
    splits: np.ndarray
    """int64 [n]: 0 for train, 1 for val, 2 for test."""
    labels: dict[str, SelectedLabel]
    """The labels to learn by name, "" if there is only one."""
    skipped: list[Skipped]
    """Chains with a label whose class has no training chain."""
    clusters: list[Hashable] | None = None
    """[n]: cluster of each chain; None: `data.cluster_balance` is 0, or labels do not matter."""

    @property
    def only(self) -> SelectedLabel:
        """The label of a run that learns a single one."""
        assert list(self.labels) == [""], "the run learns several labels: take one of `labels`"
        return self.labels[""]


def select_chains(collection: Collection, options: DataOptions, seed: int) -> Selection:
    """Chooses classes, deals their chains to the splits, and applies `data.limit`.

    A chain is used if it has a learned class of any label. A class without a training chain cannot be learned: its
    labels are removed from the other splits.

    Arguments:
        collection: labelled chains.
        options: the options of `data`.
        seed: seed of the splits and of the limit.

    Raises:
        UserError: the options name a class or a split that the collection does not have, or fewer than two classes of
            a label are left.
    """
    if options.unlabelled:
        return _select_unlabelled(collection, options, seed)
    chosen = [_choose(collection, spec) for spec in options.label_specs()]
    kept = [i for i in range(len(collection.rows)) if any(label.of_chains[i] for label in chosen)]
    splits = _assign_splits(collection, kept, _kinds(chosen, kept), options, seed)

    split_of_chain = np.full(len(collection.rows), -1)
    split_of_chain[kept] = splits
    trained, skipped = [], []
    for label in chosen:
        label, without = _keep_trained(collection, label, split_of_chain)
        trained.append(label)
        skipped += without
    used = [k for k, i in enumerate(kept) if splits[k] >= 0 and any(label.of_chains[i] for label in trained)]
    if options.limit is not None:
        kinds = _kinds(trained, [kept[k] for k in used])
        used = [used[c] for c in limit_rows(splits[used], kinds, options.limit, seed=seed)]
        if len(trained) > 1:  # the limit spreads over the classes of one label, and may miss some of another
            left = np.full(len(collection.rows), -1)
            left[[kept[k] for k in used]] = splits[used]
            trained = [_keep_trained(collection, label, left)[0] for label in trained]
            used = [k for k in used if any(label.of_chains[kept[k]] for label in trained)]
    clusters = _clusters(collection, kept, options) if options.cluster_balance else None
    return Selection(
        rows=[collection.rows[kept[k]] for k in used],
        splits=splits[used],
        labels={
            label.spec.name: replace(label, of_chains=[label.of_chains[kept[k]] for k in used]) for label in trained
        },
        skipped=skipped,
        clusters=None if clusters is None else [clusters[k] for k in used],
    )


def _select_unlabelled(collection: Collection, options: DataOptions, seed: int) -> Selection:
    """Selects all chains that have a split, whatever their labels."""
    everyone = range(len(collection.rows))
    no_classes = [""] * len(everyone)
    if _split_kind(collection, options) == "given":
        splits = _assign_splits(collection, everyone, no_classes, options, seed)
    else:
        groups = _groups(collection, everyone, options)
        splits = split_groups(groups, no_classes, options.fractions, seed=seed)
        splits = _protect(splits, groups, _splits_of_labelled(collection, options, seed))
    used = np.flatnonzero(splits >= 0)
    if options.limit is not None:
        used = used[limit_rows(splits[used], [""] * len(used), options.limit, seed=seed)]
    return Selection(rows=[collection.rows[i] for i in used], splits=splits[used], labels={}, skipped=[])


def _splits_of_labelled(collection: Collection, options: DataOptions, seed: int) -> np.ndarray:
    """Returns the split of each chain in a training with its labels, int64, -1 for a chain that it does not use."""
    splits = np.full(len(collection.rows), -1)
    if not any(of_chain for of_label in collection.labels.values() for of_chain in of_label):
        return splits
    place = {row: i for i, row in enumerate(collection.rows)}
    try:
        labelled = select_chains(collection, replace(options, unlabelled=False, limit=None), seed)
    except UserError as error:
        log.info("the labels do not decide the splits of this stage: %s", error)
        return splits
    splits[[place[row] for row in labelled.rows]] = labelled.splits
    return splits


def _protect(splits: np.ndarray, groups: Sequence[Hashable], labelled: np.ndarray) -> np.ndarray:
    """Moves whole groups to the split of their labelled chains, so that no relative of a test chain trains anything.

    Arguments:
        splits: of all chains as they are dealt without labels, int64 [n].
        groups: of all chains.
        labelled: of the labelled chains, int64 [n], -1 for the others. The last of several splits of a group counts.

    >>> _protect(np.array([0, 0, 2, 1]), "aabc", np.array([-1, 2, 0, -1])).tolist()
    [2, 2, 0, 1]
    """
    of_group: dict[Hashable, int] = {}
    for group, split in zip(groups, labelled.tolist(), strict=True):
        of_group[group] = max(split, of_group.get(group, -1))
    wanted = np.array([of_group[group] for group in groups])
    return np.where(wanted >= 0, wanted, splits)


def _choose(collection: Collection, spec: LabelSpec) -> SelectedLabel:
    """Chooses the classes of a label, and keeps their labels of all chains of the collection."""
    of_chains = collection.labels[spec.name]
    names = name_classes(of_chains, collection.class_names.get(spec.name, {}), spec.class_names, spec.path)
    classes, dropped = choose_classes(of_chains, names, spec.classes, spec.min_class_size, spec.path)
    return SelectedLabel(
        spec,
        of_chains=keep_classes(of_chains, classes),
        class_labels=classes,
        class_names=[names[label] for label in classes],
        dropped={names[label]: count for label, count in dropped.items()},
    )


def _kinds(labels: Sequence[SelectedLabel], chains: Sequence[int]) -> list[Hashable]:
    """Returns the class of each chain by which splits are balanced: of the first label that it has."""
    kinds: list[Hashable] = []
    for i in chains:
        number, of_chain = next((n, label.of_chains[i]) for n, label in enumerate(labels) if label.of_chains[i])
        kinds.append(of_chain[0] if number == 0 else (number, of_chain[0]))
    return kinds


def _keep_trained(
    collection: Collection, label: SelectedLabel, splits: np.ndarray
) -> tuple[SelectedLabel, list[Skipped]]:
    """Removes the classes without a training chain, and lists the chains of other splits that have them.

    Arguments:
        collection: labelled chains.
        label: classes and labels of all chains.
        splits: split of each chain, int64, -1 for none.
    """
    names = dict(zip(label.class_labels, label.class_names, strict=True))
    in_training = {name for i in np.flatnonzero(splits == 0) for name in label.of_chains[i]}
    untrained = [
        (i, name) for i in np.flatnonzero(splits > 0) for name in label.of_chains[i] if name not in in_training
    ]
    classes = [name for name in label.class_labels if name in in_training]
    trained = replace(
        label,
        of_chains=keep_classes(label.of_chains, classes),
        class_labels=classes,
        class_names=[names[name] for name in classes],
        dropped={**label.dropped, **Counter(names[name] for _, name in untrained)},
    )
    what = f"{label.spec.name} not used: " if label.spec.name else ""
    ids = collection.store.ids
    return trained, [
        Skipped(ids[collection.rows[i]], "", f"{what}no training chain has its class {names[name]}", unusable=False)
        for i, name in untrained
    ]


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
        UserError: a split is empty or has no chain with one of the labels, a class has no training chain, or there are
            fewer than two classes of a label.
    """
    for label in selection.labels.values():
        if len(label.class_labels) == 1:
            raise UserError(
                f"all training chains have the class {label.class_names[0]}{_of(label)}, at least two classes are "
                "needed: change data.split"
            )
    datasets = {}
    for number, split in enumerate(SPLITS):
        members = np.flatnonzero(selection.splits == number)
        encoded = {
            name: encode_labels([label.of_chains[i] for i in members], label.class_labels, label.spec.multi_label)
            for name, label in selection.labels.items()
        }
        rows = np.array([selection.rows[i] for i in members], np.int64)
        datasets[split] = ChainDataset(store, rows, encoded, features, _weights(selection, members, split, options))
    _check_splits(datasets, options.limit)
    for label in selection.labels.values():
        _check_label(datasets, label, options.limit)
    return datasets


def _weights(selection: Selection, members: np.ndarray, split: str, options: DataOptions) -> np.ndarray | None:
    """Returns the weights of a split's chains in the loss; None: they count the same, as in validation and test."""
    if selection.clusters is None or split != "train":
        return None
    return cluster_weights([selection.clusters[i] for i in members], options.cluster_balance)


def _assign_splits(
    collection: Collection,
    kept: Sequence[int],
    classes: Sequence[Hashable],
    options: DataOptions,
    seed: int,
) -> np.ndarray:
    """Returns the split of each kept chain, int64: 0, 1 or 2, or -1 for a chain in no split."""
    if _split_kind(collection, options) == "given":
        if collection.splits is None:
            raise UserError("data.split=given: the table has no column split; choose cluster or random")
        given = [collection.splits[i] for i in kept]
        return np.array([SPLITS.index(split) if split else -1 for split in given], dtype=np.int64)
    return split_groups(_groups(collection, kept, options), classes, options.fractions, seed=seed)


def _split_kind(collection: Collection, options: DataOptions) -> str:
    return options.split or ("given" if collection.splits else "cluster")


def _groups(collection: Collection, kept: Sequence[int], options: DataOptions) -> Sequence[Hashable]:
    """Returns what stays together of the kept chains: their clusters, or each chain alone."""
    is_clustered = _split_kind(collection, options) == "cluster"
    return _clusters(collection, kept, options) if is_clustered else range(len(kept))


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


def _check_splits(datasets: Mapping[str, ChainDataset], limit: int | None) -> None:
    """Raises a UserError if a split is empty."""
    empty = [split for split, dataset in datasets.items() if not len(dataset)]
    if empty:
        sizes = ", ".join(f"{split} {len(dataset)}" for split, dataset in datasets.items())
        hint = _limit_hint(limit) or " Change data.split."
        raise UserError(f"the split {' and '.join(empty)} has no chain (chains: {sizes}).{hint}")


def _check_label(datasets: Mapping[str, ChainDataset], label: SelectedLabel, limit: int | None) -> None:
    """Raises a UserError if a split has no chain with a label, or a class of it has no training chain."""
    encoded = {split: dataset.labels[label.spec.name] for split, dataset in datasets.items()}
    counts = count_classes(encoded["train"], len(label.class_names))
    missing = [name for name, count in zip(label.class_names, counts, strict=True) if count == 0]
    if missing:
        path, hint = label.spec.path, _limit_hint(limit)
        raise UserError(
            f"no training chain has the class {', '.join(missing)}: leave it out with {path}.classes or "
            f"{path}.min_class_size, or change data.split.{hint}"
        )
    sizes = {split: int(is_labelled(labels).sum()) for split, labels in encoded.items()}
    empty = [split for split, size in sizes.items() if not size]
    if empty:
        listed = ", ".join(f"{split} {size}" for split, size in sizes.items())
        raise UserError(
            f"{label.spec.path}: the split {' and '.join(empty)} has no chain with this label (chains: {listed}); "
            f"change data.split, or leave the label out.{_limit_hint(limit)}"
        )


def _of(label: SelectedLabel) -> str:
    return f" of {label.spec.name}" if label.spec.name else ""


def _limit_hint(limit: int | None) -> str:
    return "" if limit is None else f" data.limit={limit} may be too small."
