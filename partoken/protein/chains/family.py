"""The family of a chain, such as its superfamily: `data.family` names the column of the table that holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from partoken.errors import UserError, did_you_mean
from partoken.protein.chains.collection import Collection
from partoken.protein.chains.label_spec import LabelSpec

__all__ = ["FamilySpec", "read_family", "take_families"]

_KEY = "data.family"
_FIELDS = ("column", "depth", "first")
_EXAMPLE = "{column: cath, depth: 4, first: true}"


@dataclass(frozen=True)
class FamilySpec(LabelSpec):
    """A column that is read like a label and not learned.

    >>> FamilySpec(column="cath", depth=2, first=True).parse("3.40.50.720; 1.10.10.10")
    ('3.40',)
    """

    name: str = _KEY  # no label can have this name
    """Its key in the configuration."""

    @property
    def path(self) -> str:
        """The place in the configuration."""
        return _KEY


def read_family(value: Any) -> FamilySpec | None:
    """Reads `data.family`.

    Arguments:
        value: a column; or a mapping with `column`, and `depth` and `first` as of a `LabelSpec`; None: no families.

    Raises:
        UserError: the value has another form, or a key is unknown.

    >>> read_family({"column": "cath", "depth": 4}).depth
    4
    """
    if value is None:
        return None
    if isinstance(value, str):
        return FamilySpec(column=value)
    if not isinstance(value, Mapping) or "column" not in value:
        raise UserError(f"data.family={value!r}: must be a column, a mapping such as {_EXAMPLE}, or null")
    for key in value:
        if key not in _FIELDS:
            known = ", ".join(_FIELDS)
            raise UserError(f"data.family.{key}: no such key; known: {known}.{did_you_mean(str(key), _FIELDS)}")
    return FamilySpec(**value)


def take_families(read: Collection) -> Collection:
    """Moves the families of the chains out of the labels, where a source has put them; without any, changes nothing."""
    if _KEY not in read.labels:
        return read
    families = zip(read.rows, read.labels[_KEY], strict=True)
    return replace(
        read,
        labels={name: of_chains for name, of_chains in read.labels.items() if name != _KEY},
        class_names={name: names for name, names in read.class_names.items() if name != _KEY},
        families={row: family[0] for row, family in families if family},
    )
