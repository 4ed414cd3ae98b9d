"""Reads the release files of ProteinShake (Kucera et al. 2023, NeurIPS Datasets and Benchmarks) without its package.

`{Dataset}.atom.avro` has one record per protein: `protein` {ID, sequence, labels, splits} and `atom`, columns of equal
length. `{Dataset}.residue.avro` holds only the CA atoms, which are not enough for a backbone.
"""

import gzip
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import fastavro
import numpy as np
from tqdm import tqdm

from partoken.errors import UserError, check_choice
from partoken.protein.chains.backbone import ATOMS, Backbone, encode
from partoken.protein.chains.cache import cached
from partoken.protein.chains.collection import Collection, find_column, split_name
from partoken.protein.chains.label_spec import LabelSpec
from partoken.protein.chains.store import ChainStore
from partoken.protein.chains.validation import READER_VERSION, UnusableChain, validate
from partoken.protein.sources.class_names import ENZYME_CLASSES
from partoken.system.download import download
from partoken.system.locks import file_lock
from partoken.system.skipped import Skipped

__all__ = ["RELEASES", "Release", "download_release", "label_proteins", "read_proteinshake", "release_of"]

RECORD = "15259912"
FILES = "https://zenodo.org/records/{record}/files/{name}"
LISTING = "https://zenodo.org/api/records/{record}"
SPLIT_KINDS = ("random", "sequence", "structure")


@dataclass(frozen=True)
class Release:
    """The file of one data set, and the labels to learn from it."""

    file: str
    """Name of the release file, before `.atom.avro`."""
    label_column: str
    """Field of a protein with its labels."""
    label_depth: int | None = None
    """Number of levels to keep of a hierarchical label; None keeps all."""
    multi_label: bool = False
    """A protein may have several labels."""
    first_only: bool = False
    """The class is the first of a list of labels."""
    class_names: Mapping[str, str] = field(default_factory=dict)
    """Readable names of the labels in `label_column`."""

    @property
    def usual_label(self) -> LabelSpec:
        """The label that is learned unless the user names another."""
        return LabelSpec(
            column=self.label_column, depth=self.label_depth, first=self.first_only, multi_label=self.multi_label
        )

    def known_names(self, spec: LabelSpec) -> Mapping[str, str]:
        """Returns the readable names of the classes of a label; {} if there are none."""
        return self.class_names if (spec.column, spec.depth) == (self.label_column, self.label_depth) else {}


RELEASES = {
    "enzymecommission": Release("EnzymeCommissionDataset", "EC", label_depth=1, class_names=ENZYME_CLASSES),
    "proteinfamily": Release("ProteinFamilyDataset", "Pfam", first_only=True),
    "scop": Release("SCOPDataset", "SCOP-FA"),
    "geneontology": Release("GeneOntologyDataset", "molecular_function", multi_label=True),
}


def release_of(dataset_name: str) -> Release:
    """Returns the release of a data set.

    Raises:
        UserError: no data set has this name.
    """
    check_choice("data.dataset_name", dataset_name, list(RELEASES))
    return RELEASES[dataset_name]


def download_release(dataset_name: str, data_dir: str | os.PathLike[str]) -> Path:
    """Returns the release file of a data set, and downloads it first if it is missing.

    If several processes ask for it at the same time, one of them downloads it and the others wait.

    Arguments:
        dataset_name: a key of `RELEASES`.
        data_dir: folder of `{Dataset}.atom.avro` or `{Dataset}.atom.avro.gz`.

    Raises:
        UserError: the file is missing and cannot be downloaded.
    """
    name, folder = release_of(dataset_name).file, Path(data_dir)
    if path := _existing(name, folder):
        return path
    target = folder / f"{name}.atom.avro.gz"
    url = FILES.format(record=RECORD, name=target.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / f".{target.name}.lock"):
            if path := _existing(name, folder):  # another process was faster
                return path
            download(url, target, LISTING.format(record=RECORD))
    except OSError as error:
        raise UserError(
            f"{target} is missing{_ca_only_hint(name, folder)} and could not be downloaded: {error}\n"
            f"On a machine with a network, download {url}\n"
            f"and put it into {folder.resolve()} as {target.name}"
        ) from None
    return target


def read_proteinshake(
    dataset_name: str,
    data_dir: str | os.PathLike[str],
    *,
    min_length: int,
    max_length: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> ChainStore:
    """Reads the release file of a data set, or opens the cache of an earlier reading; downloads a missing file.

    Arguments:
        dataset_name: a key of `RELEASES`.
        data_dir: folder of `{Dataset}.atom.avro` or `{Dataset}.atom.avro.gz`.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        cache_dir: cache folder; None takes the user's cache folder.

    Raises:
        UserError: the file cannot be downloaded, is damaged or has another schema; or the cache cannot be written.
    """
    path = download_release(dataset_name, data_dir)
    limits: dict[str, Any] = {"min_length": min_length, "max_length": max_length}
    cache_key = {
        "source": "proteinshake",
        "file": str(path.resolve()),
        "reader": READER_VERSION,
        **limits,
    }
    state = [path.stat().st_size, path.stat().st_mtime_ns]
    return cached("proteinshake", cache_key, state, lambda: _stream(path, limits), cache_dir)


def label_proteins(
    store: ChainStore,
    release: Release,
    *,
    split: str = "random",
    threshold: float = 0.7,
    labels: Sequence[LabelSpec] | None = None,
) -> Collection:
    """Labels the chains of a release file and takes one of its own splits.

    Arguments:
        store: the result of `read_proteinshake`.
        release: the release that the store was read from.
        split: "random", "sequence" or "structure".
        threshold: largest similarity between training and test proteins, for the splits by sequence and structure.
        labels: the labels to read, from fields such as `SCOP-CL` or `cellular_component`; None: the usual one.

    Raises:
        UserError: the file has no such label or split.
    """
    check_choice("data.split", split, SPLIT_KINDS)
    split_column = "random_split" if split == "random" else f"{split}_split_{threshold:g}"
    if split_column not in store.columns:
        known = ", ".join(c for c in store.columns if "_split" in c) or "none"
        raise UserError(
            f"data.split={split} data.split_similarity_threshold={threshold:g}: "
            f"no such split in the file, which has {known}"
        )
    label_columns = [c for c in store.columns if "_split" not in c]
    labels = labels or [release.usual_label]
    for spec in labels:
        find_column(spec.column, label_columns, spec.key("column"), "the release file")
    return Collection(
        store,
        rows=list(range(len(store))),
        labels={spec.name: [spec.parse(cell) for cell in store.columns[spec.column]] for spec in labels},
        splits=[split_name(cell) for cell in store.columns[split_column]],
        class_names={spec.name: release.known_names(spec) for spec in labels},
        skipped=store.skipped,
        num_inputs=len(store) + len(store.skipped),
    )


def _existing(name: str, folder: Path) -> Path | None:
    paths = (folder / f"{name}{ending}" for ending in (".atom.avro", ".atom.avro.gz"))
    return next((path for path in paths if path.is_file()), None)


def _ca_only_hint(name: str, folder: Path) -> str:
    """Returns a remark if the user has the file with CA atoms instead."""
    paths = [folder / f"{name}.residue.avro", folder / f"{name}.residue.avro.gz"]
    present = [path.name for path in paths if path.is_file()]
    if not present:
        return ""
    return f" ({present[0]} holds CA atoms only, and the model needs N, CA and C)"


def _stream(path: Path, limits: Mapping[str, Any]) -> Iterator[Backbone | Skipped | Counter[str]]:
    """Yields the chains of a release file, skipped proteins, and counts."""
    seen: set[str] = set()
    try:
        with _opened(path) as file:
            reader = fastavro.reader(file)
            total = int(reader.metadata.get("number_of_proteins") or 0) or None
            for record in tqdm(reader, "reading proteins", total, disable=None, leave=False):
                name = str(record["protein"]["ID"])
                if name in seen:
                    yield Skipped(name, path.name, "its ID is the ID of an earlier protein")
                    continue
                seen.add(name)
                yield from _chain(name, record, path.name, limits)
    except (KeyError, ValueError, EOFError, OSError, StopIteration, IndexError, TypeError) as error:
        raise UserError(
            f"{path} is damaged or not of ProteinShake's schema ({type(error).__name__}: {error}); "
            "delete it, and the next run downloads it again"
        ) from None


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _chain(
    name: str, record: Mapping[str, Any], file: str, limits: Mapping[str, Any]
) -> Iterator[Backbone | Skipped | Counter[str]]:
    """Yields the chain of a record, or the reason why it cannot be used."""
    coords, letters = _residues(record["atom"])
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
    """Returns coordinates, float64 [L, 4, 3] in angstrom, and one-letter codes, str [L], from columns of atoms."""
    kind = np.array(atoms["atom_type"])
    number = np.array(atoms["residue_number"])
    letter = np.array(atoms["residue_type"])
    chain = np.array(atoms["chain_id"]) if "chain_id" in atoms else np.zeros(len(kind), np.int8)
    points = np.stack([np.asarray(atoms[axis], dtype=float) for axis in "xyz"], 1)
    if not len(kind):
        return np.empty((0, 4, 3)), letter
    is_new = np.zeros(len(kind), dtype=bool)
    is_new[0] = True
    for column in (number, letter, chain):
        is_new[1:] |= column[1:] != column[:-1]
    is_new |= kind == "N"  # residues with insertion codes share a number
    residue = np.cumsum(is_new) - 1
    coords = np.full((residue[-1] + 1, 4, 3), np.nan)
    for slot, atom in enumerate(ATOMS):
        present = np.flatnonzero(kind == atom)[::-1]  # reversed, so that the first of several atoms wins
        coords[residue[present], slot] = points[present]
    has_atom = ~np.isnan(coords).all((1, 2))
    return coords[has_atom], letter[is_new][has_atom]
