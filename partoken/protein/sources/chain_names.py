"""The chains of a folder by name: the names that users write in a label table."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from partoken.protein.chains.store import ChainStore
from partoken.protein.sources.finding import stem_of

__all__ = ["ChainNames", "Match"]

ARCHIVE_NAMES = re.compile(
    r"pdb([0-9][a-z0-9]{3})|pdb_0000([0-9][a-z0-9]{3})|AF-([a-z0-9]+(?:-[0-9]+)?)-F1.*", re.IGNORECASE
)
"""Names that archives give their files, without extension: `pdb1abc` and `pdb_00001abc` of the PDB hold the entry 1abc,
`AF-P12345-F1-model_v4` of AlphaFold DB the whole of P12345."""


@dataclass(frozen=True)
class Match:
    """The chains that have a name."""

    rows: list[int]
    """Rows of the store; empty if there is no such chain."""
    is_chain: bool
    """True if the name is that of a chain, False if it is that of a file."""


class ChainNames:
    """Finds the chains of a store by the name of their file or by their own name.

    The case of a file name is ignored where that is unambiguous. An entry of the PDB or of AlphaFold DB is also found
    by its own name, `1abc` in `pdb1abc.ent`, unless another file has it.

    Arguments:
        store: chains with the columns `file` and `chain`, see `read_folder`.
    """

    def __init__(self, store: ChainStore) -> None:
        self.store = store
        self.by_file: defaultdict[str, list[int]] = defaultdict(list)
        self.by_chain: dict[str, int] = {}
        files, chains = store.columns.get("file", []), store.columns.get("chain", [])
        for row, (file, chain) in enumerate(zip(files, chains, strict=True)):
            stem = stem_of(file)
            self.by_file[stem].append(row)
            self.by_chain.setdefault(f"{stem}_{chain}", row)
        self.num_files = len(self.by_file)
        self.lower = {name.lower(): name for name in self.by_file}
        self.several = self._add_entries()
        self.bad_files = {stem_of(s.file) for s in store.skipped if not s.id} - set(self.by_file)
        self.bad_files |= {_entry(name) for name in self.bad_files} - {""}
        self.chain_reasons = {s.id: s.reason for s in store.skipped if s.id}

    def _add_entries(self) -> dict[str, list[str]]:
        """Makes the entries of archives known by their own names; returns the names of several files, with those."""
        files: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.by_file:
            if (entry := _entry(name)) and entry not in self.lower:
                files[entry].append(name)
        self.lower |= {entry: names[0] for entry, names in files.items() if len(names) == 1}
        return {entry: names for entry, names in files.items() if len(names) > 1}

    def find(self, name: str, chains: str) -> Match:
        """Returns the chains with a name.

        Arguments:
            name: of a file, with or without extension, or of a chain: `1abc_A`.
            chains: which chains of a file: "longest" or "all".
        """
        stem = stem_of(name)
        if stem not in self.by_file and name in self.by_chain:
            return Match([self.by_chain[name]], is_chain=True)
        same_case = self.by_file.get(stem)
        rows = same_case or self.by_file.get(self.lower.get(stem.lower(), ""), [])
        if chains == "longest" and rows:
            rows = [max(rows, key=lambda row: self.store.lengths[row])]
        if rows:
            return Match(rows, is_chain=False)
        file, _, chain = stem.rpartition("_")
        known = self.lower.get(file.lower())
        row = self.by_chain.get(f"{known}_{chain}") if known else None
        return Match([] if row is None else [row], is_chain=True)

    def why_missing(self, name: str) -> str:
        """Returns why a name has no chain, or "" if the store already lists its file as skipped."""
        stem = stem_of(name)
        file, _, chain = stem.rpartition("_")
        known = self.lower.get(file.lower(), file)
        for own_name in (name, f"{known}_{chain}"):
            if own_name in self.chain_reasons:
                return self.chain_reasons[own_name]
        if stem in self.bad_files or file in self.bad_files:
            return ""
        for entry in (stem.lower(), file.lower()):
            if entry in self.several:
                return f"several files have this name: {', '.join(self.several[entry])}"
        if known in self.by_file:
            return f"the file {known} has no protein chain {chain}"
        return "no file of this name"

    def count_not_chosen(self, kept: Iterable[int]) -> int:
        """Counts the chains that are not kept although another chain of their file is."""
        chosen = set(kept)
        partly_used = [rows for rows in self.by_file.values() if chosen & set(rows)]
        return sum(len(set(rows) - chosen) for rows in partly_used)


def _entry(name: str) -> str:
    """Returns the entry of an archive that a file name stands for, in lower case, or "".

    >>> _entry("pdb1ABC"), _entry("pdb_00001abc"), _entry("AF-P12345-F1-model_v4"), _entry("1abc")
    ('1abc', '1abc', 'p12345', '')
    """
    match = ARCHIVE_NAMES.fullmatch(name)
    return next(filter(None, match.groups())).lower() if match else ""
