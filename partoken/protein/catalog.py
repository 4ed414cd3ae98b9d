"""What the `data` group of the configuration creates: a function for each file of `conf/data`."""

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from partoken.protein.chains.collection import Collection, from_columns
from partoken.protein.chains.store import ChainStore
from partoken.protein.chains.validation import MIN_LENGTH
from partoken.protein.dataset.datamodule import ProteinDataModule
from partoken.protein.sources.arrays import open_arrays, read_arrays, table_of
from partoken.protein.sources.folder import label_chains, read_folder
from partoken.protein.sources.proteinshake import label_proteins, read_proteinshake, task_of
from partoken.protein.sources.synthetic import Recipe, open_synthetic

__all__ = ["arrays", "embedded", "folder", "proteinshake", "synthetic"]


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
    path = Path(str(resources.files("partoken.protein.embedded") / "chains.npz"))
    labels = {"label_column": label_column, "label_depth": label_depth, "multi_label": multi_label}

    def read() -> Collection:
        return from_columns(ChainStore.of(read_arrays(path)), where=table_of(path), **labels)

    return _create("embedded", read, labels, {}, options)


def arrays(
    path: str,
    table: str | None = None,
    label_column: str = "label",
    label_depth: int | None = None,
    multi_label: bool = False,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> ProteinDataModule:
    """Creates the data module of an NPZ file of chains; its format stands in `sources.arrays`.

    Arguments:
        path: the NPZ file.
        table: the CSV file; None takes the one of the same name beside the NPZ file.
        label_column: the column of the table with the label.
        label_depth: keep so many levels of a hierarchical label.
        multi_label: several labels of a chain are separated by semicolons.
        min_length: complete residues that a chain must have at least.
        max_length: residues that it may have at most; None for any number.
        cache_dir: where the cache is; None takes the user's cache folder.
        options: of `ProteinDataModule`.
    """
    labels = {"label_column": label_column, "label_depth": label_depth, "multi_label": multi_label}
    reading = {"min_length": min_length, "max_length": max_length}

    def read() -> Collection:
        store = open_arrays(path, table, cache_dir=cache_dir, **reading)
        return from_columns(store, where=table_of(path, table), **labels)

    return _create("arrays", read, labels, reading, {**options, "cache_dir": cache_dir})


def folder(
    root: str,
    labels: str,
    label_column: str = "label",
    id_column: str = "id",
    chains: str = "longest",
    label_depth: int | None = None,
    multi_label: bool = False,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> ProteinDataModule:
    """Creates the data module of a folder of structure files.

    Arguments:
        root: the folder; PDB and mmCIF files at any depth, also with `.gz`.
        labels: the CSV file with the label of each file or chain.
        label_column: its column with the label.
        id_column: its column with the name of the file, or of the chain: `1abc_A`.
        chains: which chains of a file that is labelled as a whole are used: longest or all.
        label_depth: keep so many levels of a hierarchical label.
        multi_label: several labels of a chain are separated by semicolons or stand in several lines.
        min_length: complete residues that a chain must have at least.
        max_length: residues that it may have at most; None for any number.
        cache_dir: where the cache is; None takes the user's cache folder.
        options: of `ProteinDataModule`.
    """
    how = {"label_column": label_column, "label_depth": label_depth, "multi_label": multi_label}
    reading = {"min_length": min_length, "max_length": max_length}

    def read() -> Collection:
        store = read_folder(root, cache_dir=cache_dir, **reading)
        return label_chains(store, labels, id_column=id_column, chains=chains, **how)

    return _create("folder", read, how, reading, {**options, "cache_dir": cache_dir})


def proteinshake(
    dataset_name: str,
    data_dir: str = "data",
    split: str = "random",
    split_similarity_threshold: float = 0.7,
    label_column: str | None = None,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> ProteinDataModule:
    """Creates the data module of a ProteinShake release with its own splits.

    Arguments:
        dataset_name: enzymecommission, proteinfamily, scop or geneontology.
        data_dir: where the release files are, or are put.
        split: random, sequence or structure.
        split_similarity_threshold: the largest similarity between training and test, for the latter two.
        label_column: another label of the file than the data set's usual one.
        min_length: complete residues that a chain must have at least.
        max_length: residues that it may have at most; None for any number.
        cache_dir: where the cache is; None takes the user's cache folder.
        options: of `ProteinDataModule`.
    """
    task = task_of(dataset_name)
    how = {
        "label_column": label_column or task.label_column,
        "label_depth": task.label_depth,
        "multi_label": task.multi_label,
    }
    reading = {"min_length": min_length, "max_length": max_length}

    def read() -> Collection:
        store = read_proteinshake(dataset_name, data_dir, cache_dir=cache_dir, **reading)
        return label_proteins(store, task, split=split, threshold=split_similarity_threshold, label_column=label_column)

    options |= {"split": "given", "cache_dir": cache_dir}
    return _create(f"proteinshake {dataset_name}", read, how, reading, options)


def synthetic(
    num_chains: int = 1000,
    num_classes: int = 4,
    shortest: int = 60,
    longest: int = 200,
    recipe_seed: int = 0,
    split: str = "random",
    cache_dir: str | None = None,
    **options: Any,
) -> ProteinDataModule:
    """Creates the data module of made-up chains with a motif that decides their class; see `sources.synthetic`.

    The motif's residues are in the column `motif` of `dataset(split).store`, as `start-stop`.

    Arguments:
        num_chains: of all splits together.
        num_classes: one motif each.
        shortest: residues of the shortest chain.
        longest: residues of the longest chain.
        recipe_seed: of the chains.
        split: random, or cluster.
        cache_dir: where the cache is; None takes the user's cache folder.
        options: of `ProteinDataModule`.
    """
    recipe = Recipe(num_chains, num_classes, shortest, longest, recipe_seed)
    how = {"label_column": "label", "label_depth": None, "multi_label": False}

    def read() -> Collection:
        return from_columns(open_synthetic(recipe, cache_dir), where="the recipe", **how)

    return _create("synthetic", read, how, {}, {**options, "split": split, "cache_dir": cache_dir})


def _create(
    name: str,
    read: Callable[[], Collection],
    labels: Mapping[str, Any],
    reading: Mapping[str, Any],
    options: Mapping[str, Any],
) -> ProteinDataModule:
    settings = {"name": name, "label_column": labels["label_column"], "label_depth": labels["label_depth"]}
    settings["reading"] = {"min_length": MIN_LENGTH, "max_length": None, **reading}
    return ProteinDataModule(read, settings=settings, multi_label=labels["multi_label"], **options)
