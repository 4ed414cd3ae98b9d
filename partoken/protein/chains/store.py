"""Many chains, compact: flat arrays in memory or mapped from a file, 49 bytes a residue."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from partoken.protein.chains.backbone import Backbone
from partoken.system.skipped import Skipped

__all__ = ["ChainStore"]


class ChainStore:
    """Chains one after another in two flat arrays, and a table of what is known of each.

    Arguments:
        ids: name of each of the n chains.
        offsets: int64 [n + 1]; chain i has the residues offsets[i] to offsets[i + 1].
        columns: the table beside, each column a string a chain; empty where not known.
        arrays: returns coordinates, float32 [N, 4, 3], and amino acid codes, uint8 [N]. Called at each read, so that
            a mapping of a file lives no longer than the read and nothing piles up in memory.
        skipped: what was given and could not be read.
        notes: how often each kind of cleaning happened.
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
        assert len(offsets) == len(ids) + 1 and all(len(c) == len(ids) for c in columns.values())
        self.ids = list(ids)
        self.offsets = offsets
        self.columns = columns
        self.skipped = list(skipped)
        self.notes = dict(notes or {})
        self._arrays = arrays

    @classmethod
    def of(cls, chains: Iterable[Backbone | Skipped | Counter[str]]) -> "ChainStore":
        """Holds chains in memory; counts among them go to the notes.

        >>> chain = Backbone("a", np.zeros((3, 4, 3), np.float32), np.zeros(3, np.uint8), {"kind": "x"})
        >>> store = ChainStore.of([chain, Skipped("b", "", "empty")])
        >>> store.ids, store.columns, len(store.skipped)
        (['a'], {'kind': ['x']}, 1)
        """
        kept: list[Backbone] = []
        skipped: list[Skipped] = []
        notes: Counter[str] = Counter()
        for item in chains:
            if isinstance(item, Counter):
                notes += item
            else:
                (kept if isinstance(item, Backbone) else skipped).append(item)
        coords = np.concatenate([c.coords for c in kept]) if kept else np.empty((0, 4, 3), np.float32)
        sequence = np.concatenate([c.sequence for c in kept]) if kept else np.empty(0, np.uint8)
        names = list(dict.fromkeys(name for c in kept for name in c.fields))
        columns = {name: [c.fields.get(name, "") for c in kept] for name in names}
        offsets = np.concatenate([[0], np.cumsum([len(c) for c in kept], dtype=np.int64)])
        return cls([c.id for c in kept], offsets, columns, lambda: (coords, sequence), skipped, notes)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]: residues of each chain."""
        return np.diff(self.offsets)

    def read(self, rows: Iterable[int]) -> list[Backbone]:
        """Returns copies of some chains."""
        coords, sequence = self._arrays()
        chains = []
        for row in rows:
            part = slice(self.offsets[row], self.offsets[row + 1])
            fields = {name: column[row] for name, column in self.columns.items()}
            chains.append(Backbone(self.ids[row], np.array(coords[part]), np.array(sequence[part]), fields))
        return chains

    def sequences(self, rows: Iterable[int]) -> list[np.ndarray]:
        """Returns the amino acid codes of some chains, uint8 [L] each."""
        _, sequence = self._arrays()
        return [np.array(sequence[self.offsets[row] : self.offsets[row + 1]]) for row in rows]
