"""Many chains in flat arrays, in memory or mapped from a file: 49 bytes per residue."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from partoken.protein.chains.backbone import Backbone
from partoken.system.skipped import Skipped

__all__ = ["NOT_READ", "ChainStore"]

NOT_READ = "not read: "
"""Start of the notes that count the files of a folder that are not read; the rest is their suffix."""


class ChainStore:
    """n chains with N residues in total, one after another in two flat arrays, and a table with a row per chain.

    Arguments:
        ids: n names of chains.
        offsets: int64 [n + 1]; chain i has the residues `offsets[i]` to `offsets[i + 1]`.
        columns: the table, one string per chain in each column; an unknown cell is empty.
        arrays: returns coordinates, float32 [N, 4, 3] in angstrom, and amino acid codes, uint8 [N]. The store calls it
            for each read, so that a mapped file stays mapped only during the read.
        skipped: inputs that could not be read.
        notes: number of residues or chains that each kind of cleaning changed.
    """

    def __init__(
        self,
        ids: Sequence[str],
        offsets: np.ndarray,
        columns: Mapping[str, Sequence[str]],
        arrays: Callable[[], tuple[np.ndarray, np.ndarray]],
        skipped: Sequence[Skipped] = (),
        notes: Mapping[str, int] | None = None,
    ) -> None:
        assert len(offsets) == len(ids) + 1
        assert all(len(column) == len(ids) for column in columns.values())
        self.ids = list(ids)
        self.offsets = offsets
        self.columns = columns
        self.skipped = list(skipped)
        self.notes = dict(notes or {})
        self._arrays = arrays

    @classmethod
    def of(cls, items: Iterable[Backbone | Skipped | Counter[str]]) -> "ChainStore":
        """Creates a store in memory from the output of a reader: chains, skipped inputs, and counts for the notes.

        >>> chain = Backbone("a", np.zeros((3, 4, 3), np.float32), np.zeros(3, np.uint8), {"kind": "x"})
        >>> store = ChainStore.of([chain, Skipped("b", "", "empty")])
        >>> store.ids, store.columns, len(store.skipped)
        (['a'], {'kind': ['x']}, 1)
        """
        chains: list[Backbone] = []
        skipped: list[Skipped] = []
        notes: Counter[str] = Counter()
        for item in items:
            if isinstance(item, Counter):
                notes += item
            elif isinstance(item, Backbone):
                chains.append(item)
            else:
                skipped.append(item)
        coords = np.concatenate([np.empty((0, 4, 3), np.float32), *(c.coords for c in chains)])
        sequence = np.concatenate([np.empty(0, np.uint8), *(c.sequence for c in chains)])
        names = list(dict.fromkeys(name for c in chains for name in c.fields))
        columns = {name: [c.fields.get(name, "") for c in chains] for name in names}
        lengths = np.array([0, *map(len, chains)], dtype=np.int64)
        ids = [c.id for c in chains]
        return cls(ids, np.cumsum(lengths), columns, lambda: (coords, sequence), skipped, notes)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]: number of residues of each chain."""
        return np.diff(self.offsets)

    def read(self, rows: Iterable[int]) -> list[Backbone]:
        """Returns copies of the chains in some rows."""
        coords, sequence = self._arrays()
        chains = []
        for row in rows:
            residues = slice(self.offsets[row], self.offsets[row + 1])
            fields = {name: column[row] for name, column in self.columns.items()}
            points, codes = np.array(coords[residues]), np.array(sequence[residues])
            chains.append(Backbone(self.ids[row], points, codes, fields))
        return chains

    def sequences(self, rows: Iterable[int]) -> list[np.ndarray]:
        """Returns the amino acid codes of the chains in some rows, uint8 [L] each."""
        _, sequence = self._arrays()
        return [np.array(sequence[self.offsets[row] : self.offsets[row + 1]]) for row in rows]
