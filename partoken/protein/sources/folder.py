"""A folder of structure files with a table of labels, by file or by chain."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.cache import cached
from partoken.protein.chains.collection import Collection, find_column, parse_label, split_name
from partoken.protein.chains.store import ChainStore
from partoken.protein.chains.validation import READER_VERSION
from partoken.protein.sources.arrays import read_table
from partoken.protein.sources.finding import EXTENSIONS, find_files, stem_of
from partoken.protein.sources.reading import FileContent, read_file
from partoken.system.parallel import map_parallel
from partoken.system.skipped import Skipped

__all__ = ["label_chains", "read_folder"]

CHOICES = ("longest", "all")


def read_folder(
    root: str | os.PathLike[str],
    *,
    min_length: int,
    max_length: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> ChainStore:
    """Reads every protein chain of the structure files under a folder, or opens the cache of an earlier reading.

    Arguments:
        root: the folder; files at any depth, `.pdb .ent .cif .mmcif` and their `.gz`.
        min_length: complete residues that a chain must have at least.
        max_length: residues that it may have at most; None for any number.
        cache_dir: where the cache is; None takes the user's cache folder.
        workers: processes that parse; None takes all cores.

    Raises:
        UserError: no such folder, or no structure file in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder")
    files = find_files(root)
    if not files:
        raise UserError(f"data.root={root} holds no structure file ({', '.join(EXTENSIONS)}, also .gz)")
    limits: dict[str, Any] = {"min_length": min_length, "max_length": max_length}
    identity = {"source": "folder", "root": str(root.resolve()), "reader": READER_VERSION, **limits}
    return cached("folder", identity, _state(root, files), lambda: _stream(root, files, limits, workers), cache_dir)


def label_chains(
    store: ChainStore,
    table: str | os.PathLike[str],
    *,
    label_column: str = "label",
    id_column: str = "id",
    chains: str = "longest",
    label_depth: int | None = None,
    multi_label: bool = False,
) -> Collection:
    """Gives the chains of a folder their labels.

    An id is the name of a file, with or without extension, or of a chain of it: `1abc_A`. A label by chain goes before
    one by file. Several lines for one chain are several labels if `multi_label`, and a contradiction otherwise.

    Arguments:
        store: what `read_folder` gave.
        table: the CSV file; a column `split` (train, val, test) is used if there.
        label_column: the column with the label.
        id_column: the column with the file's or chain's name.
        chains: which chains of a file that is labelled as a whole: longest or all.
        label_depth: keep so many levels of a hierarchical label.
        multi_label: a chain may have several labels, separated by semicolons or in several lines.

    Raises:
        UserError: the table is missing or lacks a column, or `chains` is none of the two.
    """
    if chains not in CHOICES:
        raise UserError(f"data.chains={chains}: choose {' or '.join(CHOICES)}")
    rows = read_table(table)
    columns = list(rows[0]) if rows else []
    find_column(id_column, columns, "data.id_column", str(table))
    find_column(label_column, columns, "data.label_column", str(table))
    where = _Names(store)
    skipped = list(store.skipped)
    given: defaultdict[int, dict[str, set[str]]] = defaultdict(lambda: {"file": set(), "chain": set()})
    split_of: dict[int, str] = {}
    for line in rows:
        name = line[id_column]
        found, by = where.find(name, chains)
        if not found:
            reason = where.why_not(name)
            skipped += [Skipped(name, str(table), reason)] if reason else []
        for row in found:
            given[row][by].update({line[label_column]} if line[label_column] else ())
            split_of[row] = split_name(line.get("split", ""))
    labels = {}
    for row, kinds in given.items():
        text = kinds["chain"] or kinds["file"]
        labels[row] = parse_label(";".join(sorted(text)), label_depth, multi_label)
        if len(text) > 1 and not labels[row]:
            skipped.append(Skipped(store.ids[row], str(table), f"labelled more than once: {', '.join(sorted(text))}"))
    kept = sorted(labels)
    labelled = {store.columns["file"][row] for row in kept}
    for file in dict.fromkeys(store.columns["file"] if len(store) else ()):
        if file not in labelled:
            skipped.append(Skipped("", file, f"no label in {table}", unusable=False))
    num_files = where.num_files + sum(not s.id for s in store.skipped)
    return Collection(
        store,
        rows=kept,
        labels=[labels[row] for row in kept],
        splits=[split_of[row] for row in kept] if "split" in columns else None,
        skipped=skipped,
        num_inputs=num_files + sum(s.unusable for s in skipped[len(store.skipped) :]),
        facts={"files": num_files, "chains_not_chosen": where.not_chosen(kept)},
    )


class _Names:
    """Finds chains by the name of their file or their own."""

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

    def find(self, name: str, chains: str) -> tuple[list[int], str]:
        """Returns the rows that a label's id means, and whether it names a file or a chain."""
        stem = stem_of(name)
        if stem not in self.by_file and name in self.by_chain:
            return [self.by_chain[name]], "chain"
        rows = self.by_file.get(stem) or self.by_file.get(self.lower.get(stem.lower(), ""), [])
        if chains == "longest" and rows:
            rows = [max(rows, key=lambda row: self.store.lengths[row])]
        if rows:
            return rows, "file"
        file, _, chain = stem.rpartition("_")
        known = self.lower.get(file.lower())
        row = self.by_chain.get(f"{known}_{chain}") if known else None
        return ([] if row is None else [row]), "chain"

    def why_not(self, name: str) -> str:
        """Returns why an id means no chain; nothing where its file is listed already."""
        stem = stem_of(name)
        file, _, chain = stem.rpartition("_")
        if name in self.chain_reasons:
            return self.chain_reasons[name]
        if stem in self.bad_files or file in self.bad_files:
            return ""
        return f"the file {file} has no protein chain {chain}" if file in self.by_file else "no file of this name"

    def not_chosen(self, kept: Iterable[int]) -> int:
        """Counts the other chains of the files that have a chain among these."""
        chosen = set(kept)
        return sum(len(rows) - len(chosen & set(rows)) for rows in self.by_file.values() if chosen & set(rows))


def _state(root: Path, files: list[Path]) -> list[tuple[str, int, int]]:
    state = []
    for file in files:
        try:
            stat = file.stat()
            state.append((str(file.relative_to(root)), stat.st_size, stat.st_mtime_ns))
        except OSError:  # a dangling link
            state.append((str(file.relative_to(root)), -1, 0))
    return state


def _stream(
    root: Path, files: list[Path], limits: Mapping[str, Any], workers: int | None
) -> Iterator[Backbone | Skipped | Counter[str]]:
    first: dict[str, str] = {}
    distinct = []
    for file in files:
        name = str(file.relative_to(root))
        if (other := first.setdefault(stem_of(file), name)) != name:
            yield Skipped("", name, f"duplicate: the name {stem_of(file)} is already that of {other}", unusable=False)
        else:
            distinct.append((file, name))
    contents = map_parallel(
        partial(_read, limits=limits),
        distinct,
        when_killed=lambda item: FileContent([], [Skipped("", item[1], "reading it killed the process")], Counter()),
        description="reading structures",
        workers=workers,
    )
    seen: set[str] = set()
    for content in contents:
        for chain in content.chains:
            if chain.id in seen:
                reason = "duplicate: another file has a chain of this name"
                yield Skipped(chain.id, chain.fields["file"], reason, unusable=False)
                continue
            seen.add(chain.id)
            yield chain
        yield from content.skipped
        yield content.notes


def _read(item: tuple[Path, str], limits: Mapping[str, Any]) -> FileContent:
    return read_file(item[0], item[1], **limits)
