"""The labels that a run learns: the columns that hold them, and `data.label_columns`, which names several."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from partoken.errors import UserError, check_flag, check_number, check_text, did_you_mean

__all__ = ["SCORES", "LabelSpec", "by_name", "label_names", "read_label_columns"]

SCORES = ("accuracy", "balanced_accuracy", "fmax", "loss", "macro_f1")
"""Scores of a label. Of several labels, each has its own as `NAME_SCORE`."""
_OTHER_SCORES = ("used_codes",)
_FORMS = "a list such as [enzyme, {column: ec, depth: 2}], a mapping by name such as {ec_2: {column: ec, depth: 2}}"


@dataclass(frozen=True)
class LabelSpec:
    """A label to learn: where it stands in a table, and what its classes are.

    Raises:
        UserError: a value is out of range or has the wrong type.
    """

    name: str = ""
    """Name of the label in metrics, files and predictions: letters, digits and underscores. "": it is the only one."""
    column: str = "label"
    """Column of the table with the label."""
    depth: int | None = None
    """Number of levels to keep of a hierarchical label: 1 makes `3` of `3.4.21.5`. None: all."""
    weight: float = 1.0
    """Weight of this label in the loss and in the mean scores, 0 or more, relative to the other labels."""
    first: bool = False
    """True: of several labels in a cell, the first one counts. False: such a chain counts as unlabelled, unless
    `multi_label`."""
    multi_label: bool = False
    """True: a chain may have several classes. False: it has exactly one, or is unlabelled."""
    min_class_size: int = 1
    """Classes with fewer chains, over all splits, are left out. The default keeps all."""
    classes: Sequence[str | int] | None = None
    """Labels or names of the classes to learn. None: all."""
    class_names: Mapping[Any, str] | None = None
    """Readable names by label, over those that the source knows. None: the source's names only."""

    def __post_init__(self) -> None:
        check_text(self.key("column"), self.column)
        check_number(self.key("depth"), self.depth, minimum=1, whole=True, optional=True)
        check_number(self.key("weight"), self.weight, minimum=0)
        check_flag(self.key("first"), self.first)
        check_flag(self.key("multi_label"), self.multi_label)
        if self.first and self.multi_label:
            raise UserError(
                f"{self.key('first')}=true: {self.key('multi_label')}=true keeps all labels of a cell; "
                "set one of the two to false"
            )
        check_number(self.key("min_class_size"), self.min_class_size, minimum=1, whole=True)
        _check_classes(self.key("classes"), self.classes)
        _check_class_names(self.key("class_names"), self.class_names)

    @property
    def path(self) -> str:
        """The place of the label in the configuration: `data`, or `data.label_columns.NAME`."""
        return f"data.label_columns.{self.name}" if self.name else "data"

    def key(self, field: str) -> str:
        """Returns the key of the configuration that sets a field.

        >>> LabelSpec().key("depth"), LabelSpec("ec_2").key("depth")
        ('data.label_depth', 'data.label_columns.ec_2.depth')
        """
        is_renamed = not self.name and field in ("column", "depth")
        return f"data.label_{field}" if is_renamed else f"{self.path}.{field}"

    def parse(self, *cells: str) -> tuple[str, ...]:
        """Returns the labels of a chain in the cells that label it, sorted; () if it is unlabelled.

        An empty label and `-` count as none. Several different labels give none, unless `multi_label` or `first`.

        >>> LabelSpec(depth=1).parse("3.4.21.5; 3.4.21.1"), LabelSpec().parse("1.1; 2.2"), LabelSpec().parse("-")
        (('3',), (), ())
        >>> LabelSpec(multi_label=True).parse("b;a"), LabelSpec(first=True).parse("b;a")
        (('a', 'b'), ('b',))
        """
        labels: set[str] = set()
        for cell in cells:
            found = [label.strip() for label in cell.split(";") if label.strip() not in ("", "-")]
            labels.update(found[:1] if self.first else found)
        if self.depth is not None:
            labels = {".".join(label.split(".")[: self.depth]) for label in labels}
        return tuple(sorted(labels)) if self.multi_label or len(labels) == 1 else ()


def read_label_columns(entries: Any, **defaults: Any) -> tuple[LabelSpec, ...]:
    """Reads `data.label_columns`.

    Arguments:
        entries: a list whose entries are columns or mappings with the fields of `LabelSpec`; or a mapping from names
            to columns or to such mappings, in which the column may be left out if it is the name.
        defaults: values of fields that an entry does not set.

    Returns:
        One or more labels with different names. The default name is the column, followed by `_DEPTH` if there is one.

    Raises:
        UserError: there is no entry, an entry cannot be used, two labels have one name, or all weights are 0.

    >>> [(spec.name, spec.column) for spec in read_label_columns(["enzyme", {"column": "ec", "depth": 2}])]
    [('enzyme', 'enzyme'), ('ec_2', 'ec')]
    """
    specs = [LabelSpec(**{**defaults, **entry}) for entry in _named_entries(entries)]
    _check_names([spec.name for spec in specs])
    if not any(spec.weight for spec in specs):
        raise UserError("data.label_columns: all weights are 0, so nothing would be learned; raise one of them")
    return tuple(specs)


def label_names(entries: Any) -> tuple[str, ...]:
    """Returns the names of the labels in `data.label_columns`; () if it is None and the run has a single label.

    Raises:
        UserError: see `read_label_columns`.
    """
    return () if entries is None else tuple(spec.name for spec in read_label_columns(entries))


def by_name(values: Mapping[str, Any]) -> Any:
    """Returns the value of each label by its name, or the value itself if there is a single label without a name.

    >>> by_name({"": 7}), by_name({"ec": 7, "cath": 8})
    (7, {'ec': 7, 'cath': 8})
    """
    return values[""] if "" in values else dict(values)


def _named_entries(entries: Any) -> list[dict[str, Any]]:
    """Returns the fields that each entry sets, with its name and its column."""
    if isinstance(entries, Mapping) and entries:
        found = [_entry(value, f"data.label_columns.{name}") for name, value in entries.items()]
        return [{"column": str(name), **entry, "name": str(name)} for name, entry in zip(entries, found, strict=True)]
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        shown = "[]" if not entries else entries
        raise UserError(f"data.label_columns={shown}: must be {_FORMS}, or null to learn data.label_column alone")
    named = []
    for i, value in enumerate(entries):
        entry = _entry(value, f"data.label_columns[{i}]", "name")
        if "column" not in entry:
            raise UserError(f"data.label_columns[{i}]={value}: names no column; write it as {{column: COLUMN, ...}}")
        named.append({"name": _default_name(entry), **entry})
    return named


def _entry(value: Any, path: str, *more: str) -> dict[str, Any]:
    """Returns the fields that one entry sets; `more` are allowed beside those of every form."""
    if isinstance(value, str):
        return {"column": value}
    if value is None and not more:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(
            f"{path}={value!r}: must be the name of a column, or a mapping such as {{column: ec, depth: 2}}"
        )
    allowed = [field.name for field in fields(LabelSpec) if field.name != "name"] + list(more)
    for key in value:
        if key not in allowed:
            raise UserError(f"{path}.{key}: no such key; known: {', '.join(allowed)}.{did_you_mean(str(key), allowed)}")
    return dict(value)


def _default_name(entry: Mapping[str, Any]) -> str:
    """Returns the column, with its depth and without characters that a metric cannot have.

    >>> _default_name({"column": "SCOP-CL"}), _default_name({"column": "ec", "depth": 2})
    ('SCOP_CL', 'ec_2')
    """
    depth = "" if entry.get("depth") is None else f"_{entry['depth']}"
    return re.sub(r"\W", "_", f"{entry['column']}{depth}", flags=re.ASCII)


def _check_names(names: Sequence[str]) -> None:
    """Rejects names of labels that cannot be told from one another, or from a score, in the names of metrics."""
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name, re.ASCII):
            raise UserError(f"data.label_columns: the name {name!r} must consist of letters, digits and underscores")
        if names.count(name) > 1:
            raise UserError(
                f"data.label_columns: two labels have the name {name}; give one of them another, as in "
                f"{{column: COLUMN, name: OTHER}}"
            )
        for score in (*SCORES, *_OTHER_SCORES):
            if score == name or score.startswith(f"{name}_"):
                raise UserError(f"data.label_columns: the name {name} is that of a score, {score}; choose another name")
    metrics = [f"{name}_{score}" for name in names for score in SCORES]
    for metric in metrics:
        if metrics.count(metric) > 1:
            raise UserError(
                f"data.label_columns={list(names)}: two labels would have a metric {metric}; rename one of them"
            )


def _check_classes(key: str, classes: Any) -> None:
    if classes is None:
        return
    if not isinstance(classes, Sequence) or isinstance(classes, str):
        raise UserError(f"{key}={classes}: must be a list such as [{classes}, ...], or null")
    if not classes:
        raise UserError(f"{key}=[]: names no class to learn; name two or more, or set it to null for all")


def _check_class_names(key: str, class_names: Any) -> None:
    """Checks the form of the names; whether the labels exist is known only after the data are read."""
    if class_names is None:
        return
    if not isinstance(class_names, Mapping):
        raise UserError(
            f"{key}={class_names}: must map labels to names, or be null; in a shell: '{key}={{1: alpha, 2: beta}}'"
        )
    for label, name in class_names.items():
        # Predictions of several classes are joined by semicolons.
        if not isinstance(name, str) or not name.strip() or ";" in name or not name.isprintable():
            raise UserError(f"{key}.{label}={name!r}: must be a text on one line without a semicolon")
