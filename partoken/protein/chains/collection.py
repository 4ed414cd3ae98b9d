"""The chains of one source with their labels, and the reading of labels from table columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from partoken.errors import UserError, did_you_mean
from partoken.protein.chains.label_spec import LabelSpec
from partoken.protein.chains.store import ChainStore
from partoken.system.skipped import Skipped

__all__ = ["SPLITS", "Collection", "find_column", "from_columns", "present_labels", "split_name"]

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
    labels: dict[str, list[tuple[str, ...]]]
    """[n] for each label that a run learns, by its name, "" if it is the only one: labels of each chain; () if it has
    none."""
    splits: list[str] | None = None
    """[n]: train, val, test, or empty for a chain in no split. None: the source has no splits."""
    clusters: list[str] | None = None
    """[n]: cluster of similar chains, empty for a chain in none. None: the source has no clusters."""
    class_names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Readable names that the source knows for the classes of a label, by its name; a class without one is its own."""
    families: Mapping[int, str] | None = None
    """Family of each chain that has one, by row of the store, see `data.family`. None: nobody asked for families."""
    skipped: list[Skipped] = field(default_factory=list)
    """Inputs that are not used, with the reason for each."""
    num_inputs: int = 0
    """Number of inputs given: files, and labels that name no file."""
    counts: dict[str, int] = field(default_factory=dict)
    """Further counts for the data report, such as the number of files."""

    @property
    def labelled(self) -> list[bool]:
        """[n]: True for a chain that has a label, of whatever name."""
        return [any(of_chain) for of_chain in zip(*self.labels.values(), strict=True)]

    @property
    def num_unusable(self) -> int:
        """Number of inputs that should have given a chain and gave none."""
        return sum(s.unusable for s in self.skipped)


def from_columns(
    store: ChainStore,
    labels: Sequence[LabelSpec],
    *,
    table_name: str,
    known_names: Callable[[LabelSpec], Mapping[str, str]] | None = None,
    optional: bool = False,
) -> Collection:
    """Labels the chains of a store from the columns of its own table.

    The columns `split` and `cluster` are used if the table has them.

    Arguments:
        store: chains with a table.
        labels: the labels to read; semicolons separate several labels of a chain.
        table_name: name of the table in error messages.
        known_names: returns the readable names of the classes of a label; None if the source knows none.
        optional: True: a label whose column is missing is left out.

    Raises:
        UserError: the table has no such column.
    """
    labels = present_labels(labels, store.columns, table_name, optional)
    splits = store.columns.get("split")
    clusters = store.columns.get("cluster")
    return Collection(
        store,
        rows=list(range(len(store))),
        labels={spec.name: [spec.parse(cell) for cell in store.columns[spec.column]] for spec in labels},
        splits=None if splits is None else [split_name(s) for s in splits],
        clusters=None if clusters is None else list(clusters),
        class_names={spec.name: known_names(spec) for spec in labels} if known_names else {},
        skipped=store.skipped,
        num_inputs=len(store) + len(store.skipped),
    )


def present_labels(
    labels: Sequence[LabelSpec], columns: Iterable[str], table_name: str, optional: bool
) -> list[LabelSpec]:
    """Returns the labels whose columns are in a table.

    Arguments:
        labels: the labels to read.
        columns: the columns of the table.
        table_name: the table, for the message.
        optional: False: every column must be there.

    Raises:
        UserError: a column is missing that must be there.
    """
    columns = list(columns)
    for spec in () if optional else labels:
        find_column(spec.column, columns, spec.key("column"), table_name)
    return [spec for spec in labels if spec.column in columns]


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


def split_name(cell: str) -> str:
    """Returns train, val or test for the split named in a table cell, or "" for anything else.

    >>> split_name("Validation"), split_name("none")
    ('val', '')
    """
    name = cell.strip().lower()
    name = _ALIASES.get(name, name)
    return name if name in SPLITS else ""
