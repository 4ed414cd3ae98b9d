"""Chains of one source with their labels, and reading both from the columns of a table."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from partoken.errors import UserError, did_you_mean
from partoken.protein.chains.store import ChainStore
from partoken.system.skipped import Skipped

__all__ = ["SPLITS", "Collection", "find_column", "from_columns", "parse_label", "split_name"]

SPLITS = ("train", "val", "test")
_ALIASES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}


@dataclass
class Collection:
    """What a source found: chains, their labels by name, and what it knows of their splits."""

    store: ChainStore
    rows: list[int]
    """The chains of the store that may be used, n of them."""
    labels: list[tuple[str, ...]]
    """[n]: names of the classes of each; empty where not known."""
    splits: list[str] | None = None
    """[n]: train, val, test or empty, where the source comes with splits."""
    clusters: list[str] | None = None
    """[n]: chains of one cluster are similar, where the source says so."""
    skipped: list[Skipped] = field(default_factory=list)
    """What was given and cannot be used."""
    num_inputs: int = 0
    """Of so many files, or labels without one, `num_unusable` gave nothing."""
    facts: dict[str, int] = field(default_factory=dict)
    """Counts for the report: files, chains, what cleaning did."""

    @property
    def num_unusable(self) -> int:
        """How many inputs gave nothing."""
        return sum(s.unusable for s in self.skipped)


def from_columns(
    store: ChainStore, label_column: str, *, where: str, label_depth: int | None = None, multi_label: bool = False
) -> Collection:
    """Takes labels, splits and clusters from columns of the store's table.

    Arguments:
        store: chains with a table; columns `split` and `cluster` are read if there.
        label_column: the column with the label; several labels of one chain are separated by semicolons.
        where: the table's name, for messages.
        label_depth: keep so many levels of a hierarchical label: 1 makes `3` of `3.4.21.5`; None keeps all.
        multi_label: a chain may have several labels. Otherwise one with several different ones has none.

    Raises:
        UserError: no such column; the nearest one is named.
    """
    find_column(label_column, store.columns, "data.label_column", where)
    labels = [parse_label(text, label_depth, multi_label) for text in store.columns[label_column]]
    splits = [split_name(s) for s in store.columns["split"]] if "split" in store.columns else None
    clusters = list(store.columns["cluster"]) if "cluster" in store.columns else None
    return Collection(
        store,
        rows=list(range(len(store))),
        labels=labels,
        splits=splits,
        clusters=clusters,
        skipped=store.skipped,
        num_inputs=len(store) + len(store.skipped),
    )


def find_column(name: str, columns: Iterable[str], key: str, where: str) -> None:
    """Refuses a column that a table does not have, and names the nearest one it has.

    Raises:
        UserError: no such column.
    """
    columns = list(columns)
    if name not in columns:
        hint = did_you_mean(name, columns)
        raise UserError(f"{key}={name}: no such column in {where}, which has {', '.join(columns)}.{hint}")


def parse_label(text: str, depth: int | None = None, multi_label: bool = False) -> tuple[str, ...]:
    """Returns the class names in a cell of a table, sorted; none where it is empty or, for one label, ambiguous.

    >>> parse_label("3.4.21.5; 3.4.21.1", depth=1), parse_label("1.1; 2.2"), parse_label("b;a", multi_label=True)
    (('3',), (), ('a', 'b'))
    """
    names = {name.strip() for name in text.split(";")} - {"", "-"}
    if depth is not None:
        names = {".".join(name.split(".")[:depth]) for name in names}
    return tuple(sorted(names)) if multi_label or len(names) == 1 else ()


def split_name(text: str) -> str:
    """Returns train, val or test for what a table calls a split, and nothing for what is none of them.

    >>> split_name("Validation"), split_name("none")
    ('val', '')
    """
    name = text.strip().lower()
    name = _ALIASES.get(name, name)
    return name if name in SPLITS else ""
