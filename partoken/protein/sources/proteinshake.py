"""The release files of ProteinShake (Kucera et al. 2023, NeurIPS Datasets and Benchmarks), read without its package.

`{Dataset}.atom.avro` has a record a protein: `protein` {ID, sequence, labels, splits} and `atom`, columns of equal
length. Its companion `{Dataset}.residue.avro` has no other atom than CA, which is no backbone.
"""

import gzip
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fastavro
import numpy as np
from tqdm import tqdm

from partoken.errors import UserError
from partoken.protein.chains.backbone import ATOMS, Backbone, encode
from partoken.protein.chains.cache import cached
from partoken.protein.chains.collection import Collection, parse_label, split_name
from partoken.protein.chains.store import ChainStore
from partoken.protein.chains.validation import READER_VERSION, UnusableChain, validate
from partoken.system.download import download
from partoken.system.skipped import Skipped

__all__ = ["DATASETS", "Task", "label_proteins", "read_proteinshake"]

RECORD = "15259912"
FILES = "https://zenodo.org/records/{record}/files/{name}"
LISTING = "https://zenodo.org/api/records/{record}"
SPLITS = ("random", "sequence", "structure")


@dataclass(frozen=True)
class Task:
    """What is learned from one of the data sets."""

    file: str
    """The release file's name, before `.atom.avro`."""
    label_column: str
    label_depth: int | None = None
    multi_label: bool = False
    first_only: bool = False
    """Of a list of labels the first is the class."""


DATASETS = {
    "enzymecommission": Task("EnzymeCommissionDataset", "EC", label_depth=1),
    "proteinfamily": Task("ProteinFamilyDataset", "Pfam", first_only=True),
    "scop": Task("SCOPDataset", "SCOP-FA"),
    "geneontology": Task("GeneOntologyDataset", "molecular_function", multi_label=True),
}


def task_of(dataset_name: str) -> Task:
    """Returns the task of a data set by its name.

    Raises:
        UserError: an unknown name.
    """
    if dataset_name not in DATASETS:
        raise UserError(f"data.dataset_name={dataset_name}: choose from {', '.join(DATASETS)}")
    return DATASETS[dataset_name]


def read_proteinshake(
    dataset_name: str,
    data_dir: str | os.PathLike[str],
    *,
    min_length: int,
    max_length: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> ChainStore:
    """Reads a data set's file, after downloading it if it is not there, or opens the cache of an earlier reading.

    Arguments:
        dataset_name: one of `DATASETS`.
        data_dir: where `{Dataset}.atom.avro` or `.atom.avro.gz` is, or is put.
        min_length: complete residues that a chain must have at least.
        max_length: residues that it may have at most; None for any number.
        cache_dir: where the cache is; None takes the user's cache folder.

    Raises:
        UserError: the file is neither there nor to be had, or not of this schema.
    """
    path = _find(task_of(dataset_name).file, Path(data_dir))
    limits: dict[str, Any] = {"min_length": min_length, "max_length": max_length}
    identity = {"source": "proteinshake", "file": str(path.resolve()), "reader": READER_VERSION, **limits}
    state = [path.stat().st_size, path.stat().st_mtime_ns]
    return cached("proteinshake", identity, state, lambda: _stream(path, limits), cache_dir)


def label_proteins(
    store: ChainStore, task: Task, *, split: str = "random", threshold: float = 0.7, label_column: str | None = None
) -> Collection:
    """Takes labels and one of the release's own splits.

    Arguments:
        store: what `read_proteinshake` gave.
        task: of the data set.
        split: random, sequence or structure.
        threshold: the largest similarity between training and test, for the latter two.
        label_column: another label of the file than the task's, such as `SCOP-CL` or `cellular_component`.

    Raises:
        UserError: the file has no such label or split.
    """
    if split not in SPLITS:
        raise UserError(f"data.split={split}: choose from {', '.join(SPLITS)}")
    column = "random_split" if split == "random" else f"{split}_split_{threshold:g}"
    label_column = label_column or task.label_column
    if column not in store.columns:
        there = ", ".join(c for c in store.columns if "_split" in c) or "none"
        raise UserError(f"data.split={split} data.split_similarity_threshold={threshold:g}: the file has {there}")
    if label_column not in store.columns:
        there = ", ".join(c for c in store.columns if "_split" not in c)
        raise UserError(f"data.label_column={label_column}: the file has {there}")
    texts = store.columns[label_column]
    if task.first_only:
        texts = [text.split(";")[0] for text in texts]
    return Collection(
        store,
        rows=list(range(len(store))),
        labels=[parse_label(text, task.label_depth, task.multi_label) for text in texts],
        splits=[split_name(text) for text in store.columns[column]],
        skipped=store.skipped,
        num_inputs=len(store) + len(store.skipped),
    )


def _find(name: str, folder: Path) -> Path:
    for ending in (".atom.avro", ".atom.avro.gz"):
        if (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}"
    target = folder / f"{name}.atom.avro.gz"
    url = FILES.format(record=RECORD, name=target.name)
    only_ca = [f for f in (folder / f"{name}.residue.avro", folder / f"{name}.residue.avro.gz") if f.is_file()]
    has = f" ({only_ca[0].name} is there, but holds CA atoms only, and the model needs N, CA and C)" if only_ca else ""
    try:
        download(url, target, LISTING.format(record=RECORD))
    except OSError as error:
        raise UserError(
            f"{target} is missing{has} and could not be downloaded: {error}\n"
            f"Where there is a network, get {url}\nand put it into {folder.resolve()} under the name {target.name}"
        ) from None
    return target


def _stream(path: Path, limits: Mapping[str, Any]) -> Iterator[Backbone | Skipped | Counter[str]]:
    seen: set[str] = set()
    try:
        with _opened(path) as file:
            reader = fastavro.reader(file)
            total = reader.metadata.get("number_of_proteins")
            for record in tqdm(reader, "reading proteins", int(total) if total else None, disable=None, leave=False):
                name = str(record["protein"]["ID"])
                if name in seen:
                    yield Skipped(name, path.name, "its ID is the ID of an earlier protein")
                    continue
                seen.add(name)
                yield from _chain(name, record, path.name, limits)
    except (KeyError, ValueError, EOFError, OSError, StopIteration, IndexError, TypeError) as error:
        raise UserError(
            f"{path} is damaged or not of ProteinShake's schema ({type(error).__name__}: {error}); "
            "remove it, and it is downloaded again"
        ) from None


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _chain(
    name: str, record: Mapping[str, Any], file: str, limits: Mapping[str, Any]
) -> Iterator[Backbone | Skipped | Counter[str]]:
    atoms = record["atom"]
    coords, letters = _residues(atoms)
    try:
        points, impossible = validate(coords, **limits)
    except UnusableChain as reason:
        yield Skipped(name, file, str(reason))
        return
    if impossible:
        yield Counter({"residues with impossible geometry": impossible})
    fields = {
        key: ";".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in record["protein"].items()
        if key not in ("ID", "sequence")
    }
    yield Backbone(name, points, encode("".join(letters)), fields)


def _residues(atoms: Mapping[str, list[Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns coordinates, float64 [L, 4, 3], and one-letter codes, from columns of atoms."""
    kind = np.array(atoms["atom_type"])
    number = np.array(atoms["residue_number"])
    letter = np.array(atoms["residue_type"])
    chain = np.array(atoms["chain_id"]) if "chain_id" in atoms else np.zeros(len(kind), np.int8)
    points = np.stack([np.asarray(atoms[axis], dtype=float) for axis in "xyz"], 1)
    if not len(kind):
        return np.empty((0, 4, 3)), letter
    new = np.ones(len(kind), dtype=bool)
    new[1:] = (number[1:] != number[:-1]) | (letter[1:] != letter[:-1]) | (chain[1:] != chain[:-1])
    new |= kind == "N"  # residues with insertion codes share a number
    site = np.cumsum(new) - 1
    coords = np.full((site[-1] + 1, 4, 3), np.nan)
    for slot, atom in enumerate(ATOMS):
        here = np.flatnonzero(kind == atom)[::-1]  # of several the first stays
        coords[site[here], slot] = points[here]
    has_atom = ~np.isnan(coords).all((1, 2))
    return coords[has_atom], letter[new][has_atom]
