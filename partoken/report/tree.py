"""The configuration of a run as a tree of text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["config_tree"]


def config_tree(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields a line for each key, below the key that contains it.

    Arguments:
        values: plain values.
        prefix: beginning of each line.

    >>> print("\\n".join(config_tree({"train": {"lr": 0.1, "stages": [{"epochs": 3}]}, "test": True})))
    ├── train
    │   ├── lr: 0.1
    │   └── stages
    │       └── 0
    │           └── epochs: 3
    └── test: true
    """
    for number, (key, value) in enumerate(values.items(), 1):
        is_last = number == len(values)
        children = _children(value)
        text = key if children else f"{key}: {_as_typed(value)}"
        yield f"{prefix}{'└' if is_last else '├'}── {text}"
        yield from config_tree(children, f"{prefix}{' ' if is_last else '│'}   ")


def _children(value: Any) -> dict[str, Any]:
    """Returns the keys inside a value: those of a mapping, and the positions of a list of mappings."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, Sequence) and any(isinstance(item, Mapping) for item in value):
        return {str(position): item for position, item in enumerate(value)}
    return {}


def _as_typed(value: Any) -> str:
    """Returns a value as it is typed on a command line."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_as_typed, value))}]"
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value))
