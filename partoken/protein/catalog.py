"""Creates the data module of a source: one function for each protein file of `conf/data`."""

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from partoken.errors import UserError, check_number
from partoken.protein.chains.collection import Collection, from_columns
from partoken.protein.chains.family import read_family, take_families
from partoken.protein.chains.label_spec import LabelSpec
from partoken.protein.chains.store import ChainStore
from partoken.protein.chains.validation import MIN_LENGTH
from partoken.protein.dataset.datamodule import ProteinDataModule
from partoken.protein.dataset.options import DataOptions
from partoken.protein.sources.arrays import open_arrays, read_arrays, table_path
from partoken.protein.sources.class_names import CATH_CLASSES, ENZYME_CLASSES
from partoken.protein.sources.confidence import check_min_plddt
from partoken.protein.sources.content import MAX_FILE_MB
from partoken.protein.sources.folder import every_chain, label_chains, read_folder
from partoken.protein.sources.proteinshake import (
    download_release,
    label_proteins,
    read_proteinshake,
    release_of,
)
from partoken.protein.sources.synthetic import Recipe, open_synthetic
from partoken.system.instantiation import check_arguments

__all__ = ["arrays", "embedded", "folder", "proteinshake", "synthetic"]

EMBEDDED_NAMES = {
    "cath_class": CATH_CLASSES,
    "ec_top": ENZYME_CLASSES,
    "enzyme": {"0": "no enzyme", "1": "enzyme"},
}
"""Readable names of the labels in a column of the embedded table. The labels of `ss_class` are readable themselves."""

EMBEDDED_FIRST_LEVEL_NAMES = {"cath": CATH_CLASSES, "ec": ENZYME_CLASSES}
"""The same for the first level of a hierarchical column."""


def embedded(label_column: str = "cath_class", label_depth: int | None = None, **options: Any) -> ProteinDataModule:
    """Creates the data module of the chains that ship with the package; NOTICE names their sources.

    Arguments:
        label_column: `cath_class`, `ec_top`, `ss_class` or another column of the table.
        label_depth: number of levels to keep of a hierarchical label; None keeps all.
        options: fields of `DataOptions`, and `batch_size`, `num_workers` and `seed` of `ProteinDataModule`.

    Raises:
        UserError: an option is out of range.
    """
    path = Path(str(resources.files("partoken.protein.embedded") / "chains.npz"))

    def read(labels: Sequence[LabelSpec]) -> Collection:
        store = ChainStore.of(read_arrays(path))
        return from_columns(store, labels, table_name=table_path(path), known_names=_embedded_names)

    return _create("embedded", read, label_column, label_depth, **options)


def arrays(
    path: str,
    table: str | None = None,
    label_column: str = "label",
    label_depth: int | None = None,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> ProteinDataModule:
    """Creates the data module of an NPZ file of chains; `sources.arrays` describes the format.

    Arguments:
        path: the NPZ file.
        table: the CSV file; None takes the file of the same name beside the NPZ file.
        label_column: column of the table with the label.
        label_depth: number of levels to keep of a hierarchical label; None keeps all.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        cache_dir: cache folder; None takes the user's cache folder.
        options: fields of `DataOptions`, and `batch_size`, `num_workers` and `seed` of `ProteinDataModule`.

    Raises:
        UserError: an option is out of range.
    """
    limits = _limits(min_length, max_length)
    optional = bool(options.get("unlabelled"))

    def read(label_specs: Sequence[LabelSpec]) -> Collection:
        store = open_arrays(path, table, cache_dir=cache_dir, **limits)
        return from_columns(store, label_specs, table_name=table_path(path, table), optional=optional)

    return _create("arrays", read, label_column, label_depth, limits, cache_dir=cache_dir, **options)


def folder(
    root: str,
    labels: str | None = None,
    label_column: str = "label",
    id_column: str = "id",
    chains: str = "longest",
    label_depth: int | None = None,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    max_file_mb: float = MAX_FILE_MB,
    min_plddt: float | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> ProteinDataModule:
    """Creates the data module of a folder of structure files.

    Arguments:
        root: the folder; its structure files and those in its tar archives, at any depth.
        labels: CSV file with the label of each file or chain; may be None with `unlabelled`.
        label_column: its column with the label.
        id_column: its column with the name of the file, or of the chain: `1abc_A`.
        chains: which chains a file's label applies to: "longest" or "all".
        label_depth: number of levels to keep of a hierarchical label; None keeps all.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        max_file_mb: largest size of a file, unpacked, in units of 2^20 bytes.
        min_plddt: lowest confidence, 0 to 100; residues of predicted structures below it count as missing. None: the
            confidence is not read.
        cache_dir: cache folder; None takes the user's cache folder.
        options: fields of `DataOptions`, and `batch_size`, `num_workers` and `seed` of `ProteinDataModule`.

    Raises:
        UserError: an option is out of range.
    """
    limits = _limits(min_length, max_length)
    check_number("data.max_file_mb", max_file_mb, above=0)
    check_min_plddt("data.min_plddt", min_plddt)
    if min_plddt is not None:
        limits["min_plddt"] = float(min_plddt)
    unlabelled = bool(options.get("unlabelled"))
    if labels is None and not unlabelled:
        raise UserError(
            "data.labels=null: the chains need labels; name the CSV file, or pretrain on all with data.unlabelled=true"
        )

    def read(label_specs: Sequence[LabelSpec]) -> Collection:
        store = read_folder(root, cache_dir=cache_dir, max_file_mb=max_file_mb, **limits)
        if labels is None:
            return every_chain(store)
        labelled = label_chains(store, labels, label_specs, id_column=id_column, chains=chains, optional=unlabelled)
        return every_chain(store, labelled) if unlabelled else labelled

    return _create("folder", read, label_column, label_depth, limits, cache_dir=cache_dir, **options)


def proteinshake(
    dataset_name: str = "enzymecommission",
    data_dir: str = "data",
    split: str = "random",
    split_similarity_threshold: float = 0.7,
    label_column: str | None = None,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> ProteinDataModule:
    """Creates the data module of a ProteinShake data set with its own splits.

    Arguments:
        dataset_name: "enzymecommission", "proteinfamily", "scop" or "geneontology".
        data_dir: folder of the release files; a missing file is downloaded into it.
        split: "random", "sequence" or "structure".
        split_similarity_threshold: largest similarity between training and test proteins, for the splits by sequence
            (0.5 to 0.9) and structure (0.3 to 0.9).
        label_column: another label of the file; None takes the usual label of the data set.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        cache_dir: cache folder; None takes the user's cache folder.
        options: fields of `DataOptions`, and `batch_size`, `num_workers` and `seed` of `ProteinDataModule`.

    Raises:
        UserError: no data set has this name, or an option is out of range.
    """
    release = release_of(dataset_name)
    limits = _limits(min_length, max_length)
    is_single = options.get("label_columns") is None

    def read(label_specs: Sequence[LabelSpec]) -> Collection:
        store = read_proteinshake(dataset_name, data_dir, cache_dir=cache_dir, **limits)
        return label_proteins(store, release, split=split, threshold=split_similarity_threshold, labels=label_specs)

    return _create(
        f"proteinshake {dataset_name}",
        read,
        label_column or release.label_column,
        release.label_depth if is_single else None,
        limits,
        first=release.first_only,
        multi_label=release.multi_label,
        download=lambda: download_release(dataset_name, data_dir),
        split="given",
        cache_dir=cache_dir,
        **options,
    )


def synthetic(
    num_chains: int = 1000,
    num_classes: int = 4,
    shortest: int = 60,
    longest: int = 200,
    recipe_seed: int = 0,
    without_motif: bool = False,
    split: str = "random",
    cache_dir: str | None = None,
    **options: Any,
) -> ProteinDataModule:
    """Creates the data module of synthetic chains, whose class depends on a motif; see `sources.synthetic`.

    The column `motif` of `dataset(split).store` holds the residues of the motif as `start-stop`, counted from 0.

    Arguments:
        num_chains: number of chains in all splits together.
        num_classes: number of classes; each has its own motif.
        shortest: residues of the shortest chain.
        longest: residues of the longest chain.
        recipe_seed: seed of the chains.
        without_motif: True adds a class `none` of chains without a motif.
        split: "random" or "cluster".
        cache_dir: cache folder; None takes the user's cache folder.
        options: fields of `DataOptions`, and `batch_size`, `num_workers` and `seed` of `ProteinDataModule`.

    Raises:
        UserError: an option is out of range.
    """
    check_number("data.recipe_seed", recipe_seed, minimum=0, whole=True)
    recipe = Recipe(num_chains, num_classes, shortest, longest, recipe_seed, without_motif)

    def read(label_specs: Sequence[LabelSpec]) -> Collection:
        store = open_synthetic(recipe, cache_dir)
        return from_columns(store, label_specs, table_name="the recipe")

    return _create("synthetic", read, "label", None, split=split, cache_dir=cache_dir, **options)


def _embedded_names(spec: LabelSpec) -> Mapping[str, str]:
    """Returns the readable names of the classes of a label of the embedded table; {} if there are none."""
    if spec.depth == 1 and spec.column in EMBEDDED_FIRST_LEVEL_NAMES:
        return EMBEDDED_FIRST_LEVEL_NAMES[spec.column]
    return EMBEDDED_NAMES.get(spec.column, {})


def _limits(min_length: int, max_length: int | None) -> dict[str, Any]:
    check_number("data.min_length", min_length, minimum=1, whole=True)
    check_number("data.max_length", max_length, minimum=min_length, whole=True, optional=True)
    return {"min_length": min_length, "max_length": max_length}


def _create(
    name: str,
    read: Callable[[Sequence[LabelSpec]], Collection],
    label_column: str,
    label_depth: int | None,
    limits: Mapping[str, Any] | None = None,
    *,
    first: bool = False,
    batch_size: int = 8,
    num_workers: int = 0,
    seed: int = 0,
    download: Callable[[], Any] | None = None,
    **options: Any,
) -> ProteinDataModule:
    """Creates a data module; `read` gets the labels to read, and `options` are fields of `DataOptions`."""
    check_arguments(DataOptions, options, f"the {name} data", "data")
    data_options = DataOptions(**options)
    labels = data_options.label_specs(label_column, label_depth, first)
    family = None if data_options.unlabelled else read_family(data_options.family)
    columns = labels if family is None else (*labels, family)
    return ProteinDataModule(
        lambda: take_families(read(columns)),
        data_options,
        provenance={
            "name": name,
            **_provenance(labels, label_column),
            "reading": {**_limits(MIN_LENGTH, None), **(limits or {})},
        },
        batch_size=batch_size,
        num_workers=num_workers,
        seed=seed,
        download=download,
    )


def _provenance(labels: Sequence[LabelSpec], label_column: str) -> dict[str, Any]:
    """Describes where the labels come from, in plain values."""
    if not labels[0].name:
        return {"label_column": label_column, "label_depth": labels[0].depth}
    return {"label_columns": {spec.name: {"column": spec.column, "depth": spec.depth} for spec in labels}}
