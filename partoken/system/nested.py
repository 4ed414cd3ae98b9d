"""Nested settings, named as they are typed on a command line."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["changes", "leaves"]


def leaves(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of nested mappings with their full names; an empty mapping is a value.

    >>> dict(leaves({"train": {"lr": 0.1, "stages": None}, "test": True}))
    {'train.lr': 0.1, 'train.stages': None, 'test': True}
    """
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def changes(theirs: Mapping[Any, Any], ours: Mapping[Any, Any]) -> list[str]:
    """Returns a phrase for each value that differs between two nested mappings.

    >>> changes({"train": {"lr": 0.1, "seed": 0}}, {"train": {"lr": 0.2, "seed": 0}})
    ['train.lr was 0.1 and is 0.2']
    """
    before, now = dict(leaves(theirs)), dict(leaves(ours))
    keys = dict.fromkeys([*before, *now])
    return [f"{key} was {before.get(key)} and is {now.get(key)}" for key in keys if before.get(key) != now.get(key)]
