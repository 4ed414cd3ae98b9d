"""The chains of a folder by name: the names that users write in a label table."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from partoken.protein.chains.store import ChainStore
from partoken.protein.sources.finding import stem_of

__all__ = ["ChainNames", "Match"]


@dataclass(frozen=True)
class Match:
    """The chains that have a name."""

    rows: list[int]
    """Rows of the store; empty if there is no such chain."""
    is_chain: bool
    """True if the name is that of a chain, False if it is that of a file."""


class ChainNames:
    """Finds the chains of a store by the name of their file or by their own name.

    The case of a file name is ignored where that is unambiguous.

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
        self.bad_files = {stem_of(s.file) for s in store.skipped if not s.id} - set(self.by_file)
        self.chain_reasons = {s.id: s.reason for s in store.skipped if s.id}

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
        if name in self.chain_reasons:
            return self.chain_reasons[name]
        if stem in self.bad_files or file in self.bad_files:
            return ""
        if file in self.by_file:
            return f"the file {file} has no protein chain {chain}"
        return "no file of this name"

    def count_not_chosen(self, kept: Iterable[int]) -> int:
        """Counts the chains that are not kept although another chain of their file is."""
        chosen = set(kept)
        partly_used = [rows for rows in self.by_file.values() if chosen & set(rows)]
        return sum(len(set(rows) - chosen) for rows in partly_used)
