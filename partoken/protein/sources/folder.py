"""A folder of structure files with a table that labels files or single chains."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from partoken.errors import UserError, check_choice
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.cache import cached
from partoken.protein.chains.collection import Collection, find_column, present_labels, split_name
from partoken.protein.chains.label_spec import LabelSpec
from partoken.protein.chains.store import NOT_READ, ChainStore
from partoken.protein.chains.validation import READER_VERSION
from partoken.protein.sources.archive import TarMember
from partoken.protein.sources.chain_names import ChainNames
from partoken.protein.sources.content import MAX_FILE_MB
from partoken.protein.sources.finding import READABLE, FolderFiles, find_files, members_of, stem_of
from partoken.protein.sources.label_table import read_label_table
from partoken.protein.sources.reading import FEW_FILES, FileContent, read_files
from partoken.system.parallel import map_together
from partoken.system.skipped import Skipped
from partoken.system.user_files import printable

__all__ = ["label_chains", "read_folder"]

CHAIN_CHOICES = ("longest", "all")


def read_folder(
    root: str | os.PathLike[str],
    *,
    min_length: int,
    max_length: int | None = None,
    max_file_mb: float = MAX_FILE_MB,
    min_plddt: float | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> ChainStore:
    """Reads every protein chain of the structure files in a folder, or opens the cache of an earlier reading.

    Arguments:
        root: the folder; its structure files and those in its tar archives, at any depth, see `READABLE`.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        max_file_mb: largest size of a file, unpacked, in units of 2^20 bytes.
        min_plddt: lowest confidence of predicted residues, see `read_file`.
        cache_dir: cache folder; None takes the user's cache folder.
        workers: number of processes that parse files; None takes all cores.

    Raises:
        UserError: the folder is missing or has no structure file; or the cache cannot be written.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder")
    found = find_files(root)
    if not found.structures:
        others = "".join(f", {count} {suffix}" for suffix, count in found.others.most_common(5))
        beside = f"; it holds files that are not read: {others[2:]}" if others else ""
        raise UserError(f"data.root={root} holds no structure file ({READABLE}){beside}")
    limits: dict[str, Any] = {"min_length": min_length, "max_length": max_length, "max_file_mb": max_file_mb}
    if min_plddt is not None:
        limits["min_plddt"] = min_plddt
    cache_key = {
        "source": "folder",
        "root": str(root.resolve()),
        "reader": READER_VERSION,
        **limits,
    }
    state = [*_folder_state(root, found.structures), sorted(found.others.items())]
    return cached("folder", cache_key, state, lambda: _stream(root, found, limits, workers), cache_dir)


def label_chains(
    store: ChainStore,
    table: str | os.PathLike[str],
    labels: Sequence[LabelSpec] = (LabelSpec(),),
    *,
    id_column: str = "id",
    chains: str = "longest",
    optional: bool = False,
) -> Collection:
    """Labels the chains of a folder.

    An id in the table is the name of a file, with or without extension, or the name of one of its chains: `1abc_A`. The
    label of a chain overrides the label of its file. If several rows label one chain, they add up for multi-label data
    and are a contradiction otherwise.

    Arguments:
        store: the result of `read_folder`.
        table: the CSV file; its column `split` (train, val, test) is used if it has one.
        labels: the labels to read; a chain has several in one cell separated by semicolons or in several rows.
        id_column: column with the name of the file or chain.
        chains: which chains a file's label applies to: "longest" or "all".
        optional: True: a label whose column is missing is left out.

    Raises:
        UserError: the table is missing or lacks a column, or `chains` is neither "longest" nor "all".
    """
    check_choice("data.chains", chains, CHAIN_CHOICES)
    rows = read_label_table(table)
    columns = list(rows[0]) if rows else []
    find_column(id_column, columns, "data.id_column", str(table))
    labels = present_labels(labels, columns, str(table), optional)

    names = ChainNames(store)
    label_columns = {spec.column for spec in labels}
    given, unmatched = _match_rows(rows, names, id_column, label_columns, chains)
    kept = sorted(given)
    found = {spec.name: [spec.parse(*given[row].used(spec.column)) for row in kept] for spec in labels}
    lost = [Skipped(name, str(table), reason) for name, reason in unmatched]
    for spec in labels:
        lost += _contradictions(spec, {row: given[row].used(spec.column) for row in given}, store, str(table))
    num_files = names.num_files + sum(not s.id for s in store.skipped)
    return Collection(
        store,
        rows=kept,
        labels=found,
        splits=[given[row].split for row in kept] if "split" in columns else None,
        skipped=[*store.skipped, *lost, *_unlabelled_files(store, kept, table)],
        num_inputs=num_files + len(lost),
        counts={"files": num_files, "chains_not_chosen": names.count_not_chosen(kept)},
    )


def every_chain(store: ChainStore, labelled: Collection | None = None) -> Collection:
    """Returns all chains of a folder, for a training that needs no labels.

    Arguments:
        store: the result of `read_folder`.
        labelled: its chains with labels and splits; a chain that is not among them has neither. None: there are none.
    """
    rows = range(len(store))
    labels: dict[str, list[tuple[str, ...]]] = {}
    splits = None
    if labelled is not None:
        place = {row: i for i, row in enumerate(labelled.rows)}
        for name, of_label in labelled.labels.items():
            labels[name] = [of_label[place[row]] if row in place else () for row in rows]
        if labelled.splits is not None:
            splits = [labelled.splits[place[row]] if row in place else "" for row in rows]
    num_files = ChainNames(store).num_files + sum(not s.id for s in store.skipped)
    return Collection(
        store,
        list(rows),
        labels,
        splits,
        skipped=store.skipped,
        num_inputs=num_files,
        counts={"files": num_files},
    )


class _Cells:
    """The cells of a table that label one chain, by its own name and by the name of its file."""

    def __init__(self) -> None:
        self.by_chain: defaultdict[str, set[str]] = defaultdict(set)
        self.by_file: defaultdict[str, set[str]] = defaultdict(set)
        self.split = ""

    def used(self, column: str) -> list[str]:
        """Returns the cells of a column that count, sorted: those with the chain's own name, or else its file's."""
        return sorted(self.by_chain[column] or self.by_file[column])


def _match_rows(
    rows: Iterable[Mapping[str, str]], names: ChainNames, id_column: str, label_columns: Iterable[str], chains: str
) -> tuple[dict[int, _Cells], list[tuple[str, str]]]:
    """Finds the chains of each row of a table.

    Returns:
        The cells for each chain, by row of the store; and the ids without a chain, with the reason for each.
    """
    given: dict[int, _Cells] = {}
    unmatched = []
    for line in rows:
        name = line[id_column]
        match = names.find(name, chains)
        if not match.rows and (reason := names.why_missing(name)):
            unmatched.append((name, reason))
        for row in match.rows:
            cells = given.setdefault(row, _Cells())
            cells.split = split_name(line.get("split", ""))
            for column in label_columns:
                if line[column]:
                    (cells.by_chain if match.is_chain else cells.by_file)[column].add(line[column])
    return given, unmatched


def _contradictions(
    spec: LabelSpec, cells: Mapping[int, Sequence[str]], store: ChainStore, table: str
) -> list[Skipped]:
    """Lists the chains that several rows label with different classes, by their cells for each row of the store."""
    what = f"{spec.name} labelled" if spec.name else "labelled"
    return [
        Skipped(store.ids[row], table, f"{what} more than once: {', '.join(of_chain)}")
        for row, of_chain in cells.items()
        if len(of_chain) > 1 and not spec.parse(*of_chain)
    ]


def _unlabelled_files(store: ChainStore, kept: list[int], table: str | os.PathLike[str]) -> list[Skipped]:
    """Lists the files of which no chain has a row in the table."""
    files = store.columns.get("file", [])
    labelled = {files[row] for row in kept}
    return [
        Skipped("", file, f"no label in {table}", unusable=False)
        for file in dict.fromkeys(files)
        if file not in labelled
    ]


def _folder_state(root: Path, files: list[Path]) -> list[tuple[str, int, int]]:
    """Returns name, size and time of change of each file: the cache is out of date if they change."""
    state = []
    for file in files:
        name = _name_below(root, file)
        try:
            stat = file.stat()
            state.append((name, stat.st_size, stat.st_mtime_ns))
        except OSError:  # a dangling link
            state.append((name, -1, 0))
    return state


def _stream(
    root: Path, found: FolderFiles, limits: Mapping[str, Any], workers: int | None
) -> Iterator[Backbone | Skipped | Counter[str]]:
    """Reads files in parallel; yields chains, skipped inputs and counts in the order of the files."""
    file_of_stem: dict[str, str] = {}
    distinct: list[tuple[Path | TarMember, str]] = []
    others = Counter(found.others)
    yield from found.skipped
    for item in (item for file in found.structures for item in members_of(file)):
        if isinstance(item, Counter):
            others += item
            continue
        if isinstance(item, Skipped):
            yield item
            continue
        name, stem = _name_below(root, item), stem_of(item)
        other = file_of_stem.setdefault(stem, name)
        if other == name:
            distinct.append((item, name))
        else:
            reason = f"duplicate: the name {printable(stem)} is already that of {other}"
            yield Skipped("", name, reason, unusable=False)
    yield Counter({f"{NOT_READ}{suffix}": count for suffix, count in others.most_common()})
    contents = map_together(
        partial(read_files, **limits),
        distinct,
        when_killed=_killed,
        description="reading structures",
        workers=workers,
        few=FEW_FILES,
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


def _name_below(root: Path, file: Path | TarMember) -> str:
    """Returns the name of a file below a folder, as tables show it."""
    return printable(os.fspath(Path(file).relative_to(root)))


def _killed(item: tuple[Path | TarMember, str]) -> FileContent:
    """Returns the result for a file on which the reading process died."""
    skipped = Skipped("", item[1], "reading it killed the process")
    return FileContent([], [skipped], Counter())
