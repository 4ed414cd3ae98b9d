"""The sequences of the chains whose features are computed, under the ids that the data sources give them."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.validation import MIN_LENGTH
from partoken.protein.sources.arrays import read_arrays
from partoken.protein.sources.finding import list_structures
from partoken.protein.sources.proteinshake import read_proteinshake, release_of
from partoken.protein.sources.reading import read_file
from partoken.system.skipped import Skipped

__all__ = ["Sequences"]


@dataclass
class Sequences:
    """Sequences by id of the chain, and inputs that gave none."""

    codes: dict[str, np.ndarray] = field(default_factory=dict)
    """Amino acid codes by id, uint8 [L]."""
    skipped: list[Skipped] = field(default_factory=list)
    """Files and chains that are not used, with the reasons."""

    def add_paths(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Adds the chains of structure files, folders, patterns, and NPZ files of `data=arrays`.

        Raises:
            UserError: an NPZ file is missing or has another format.
        """
        given = [Path(path) for path in paths]
        for path in given:
            if path.suffix == ".npz":
                self._add(read_arrays(path, with_table=False, min_length=1))
        files, skipped = list_structures(path for path in given if path.suffix != ".npz")
        self.skipped += skipped
        self._add(item for file in files for item in _read_structure(file))

    def add_embedded(self) -> None:
        """Adds the chains that ship with the package."""
        path = Path(str(resources.files("partoken.protein.embedded") / "chains.npz"))
        self._add(read_arrays(path, with_table=False))

    def add_proteinshake(self, dataset_name: str, data_dir: str | os.PathLike[str]) -> None:
        """Adds the chains of a ProteinShake data set; a missing release file is downloaded.

        Raises:
            UserError: no data set has this name, or its file cannot be downloaded or read.
        """
        release_of(dataset_name)
        store = read_proteinshake(dataset_name, data_dir, min_length=MIN_LENGTH)
        self.skipped += store.skipped
        for chain_id, codes in zip(store.ids, store.sequences(range(len(store))), strict=True):
            self._add_chain(chain_id, "", codes)

    def _add(self, items: Iterable[Backbone | Skipped | Counter[str]]) -> None:
        for item in items:
            if isinstance(item, Skipped):
                self.skipped.append(item)
            elif isinstance(item, Backbone):
                self._add_chain(item.id, item.fields.get("file", ""), item.sequence)

    def _add_chain(self, chain_id: str, file: str, codes: np.ndarray) -> None:
        if chain_id in self.codes:
            self.skipped.append(Skipped(chain_id, file, "its id is the id of an earlier chain"))
        else:
            self.codes[chain_id] = codes


def _read_structure(path: str | os.PathLike[str]) -> Iterator[Backbone | Skipped]:
    content = read_file(path, min_length=1)
    yield from content.skipped
    yield from content.chains
