"""The chains of one source with their labels, and the reading of labels from table columns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from partoken.errors import UserError, did_you_mean
from partoken.protein.chains.store import ChainStore
from partoken.system.skipped import Skipped

__all__ = ["SPLITS", "Collection", "find_column", "from_columns", "parse_label", "split_name"]

SPLITS = ("train", "val", "test")
_ALIASES = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}


@dataclass
class Collection:
    """The result of reading a source: n labelled chains, with splits and clusters if the source has them."""

    store: ChainStore
    rows: list[int]
    """[n]: rows of the store with the usable chains."""
    labels: list[tuple[str, ...]]
    """[n]: labels of each chain; empty if it has none."""
    splits: list[str] | None = None
    """[n]: train, val, test, or empty for a chain in no split. None: the source has no splits."""
    clusters: list[str] | None = None
    """[n]: cluster of similar chains, empty for a chain in none. None: the source has no clusters."""
    class_names: Mapping[str, str] = field(default_factory=dict)
    """Readable names that the source knows for labels; a label without one is its own name."""
    skipped: list[Skipped] = field(default_factory=list)
    """Inputs that are not used, with the reason for each."""
    num_inputs: int = 0
    """Number of inputs given: files, and labels that name no file."""
    counts: dict[str, int] = field(default_factory=dict)
    """Further counts for the data report, such as the number of files."""

    @property
    def num_unusable(self) -> int:
        """Number of inputs that should have given a chain and gave none."""
        return sum(s.unusable for s in self.skipped)


def from_columns(
    store: ChainStore,
    label_column: str,
    *,
    table_name: str,
    label_depth: int | None = None,
    multi_label: bool = False,
    class_names: Mapping[str, str] | None = None,
) -> Collection:
    """Labels the chains of a store from the columns of its own table.

    The columns `split` and `cluster` are used if the table has them.

    Arguments:
        store: chains with a table.
        label_column: column with the labels; semicolons separate several labels of a chain.
        table_name: name of the table in error messages.
        label_depth: number of levels to keep of a hierarchical label: 1 makes `3` of `3.4.21.5`. None: all.
        multi_label: a chain may have several labels. If False, a chain with several labels counts as unlabelled.
        class_names: readable names of labels; None if the source knows none.

    Raises:
        UserError: the table has no such column.
    """
    find_column(label_column, store.columns, "data.label_column", table_name)
    cells = store.columns[label_column]
    splits = store.columns.get("split")
    clusters = store.columns.get("cluster")
    return Collection(
        store,
        rows=list(range(len(store))),
        labels=[parse_label(cell, label_depth, multi_label) for cell in cells],
        splits=None if splits is None else [split_name(s) for s in splits],
        clusters=None if clusters is None else list(clusters),
        class_names=class_names or {},
        skipped=store.skipped,
        num_inputs=len(store) + len(store.skipped),
    )


def find_column(name: str, columns: Iterable[str], key: str, table_name: str) -> None:
    """Checks that a table has a column.

    Arguments:
        name: the column.
        columns: the columns of the table.
        key: the configuration key that named the column, for the message.
        table_name: the table, for the message.

    Raises:
        UserError: no such column; the message suggests the closest one.
    """
    columns = list(columns)
    if name not in columns:
        raise UserError(
            f"{key}={name}: no such column in {table_name}, which has {', '.join(columns)}."
            f"{did_you_mean(name, columns)}"
        )


def parse_label(cell: str, depth: int | None = None, multi_label: bool = False) -> tuple[str, ...]:
    """Returns the labels in a table cell, sorted.

    Arguments:
        cell: labels separated by semicolons; an empty label and `-` count as none.
        depth: number of levels to keep of a hierarchical label; None keeps all.
        multi_label: several labels are allowed. If False, several different labels give none.

    >>> parse_label("3.4.21.5; 3.4.21.1", depth=1), parse_label("1.1; 2.2"), parse_label("b;a", multi_label=True)
    (('3',), (), ('a', 'b'))
    """
    labels = {label.strip() for label in cell.split(";")} - {"", "-"}
    if depth is not None:
        labels = {".".join(label.split(".")[:depth]) for label in labels}
    return tuple(sorted(labels)) if multi_label or len(labels) == 1 else ()


def split_name(cell: str) -> str:
    """Returns train, val or test for the split named in a table cell, or "" for anything else.

    >>> split_name("Validation"), split_name("none")
    ('val', '')
    """
    name = cell.strip().lower()
    name = _ALIASES.get(name, name)
    return name if name in SPLITS else ""
