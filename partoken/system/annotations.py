"""Checks values of a configuration against the annotations of what receives them."""

import inspect
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from partoken.errors import UserError

__all__ = ["check_annotations"]

WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text that is not empty",
    list: "a list",
    dict: "a mapping",
}


def check_annotations(kind: Any, values: Mapping[str, Any], group: str) -> None:
    """Rejects values of other types than those of a function's arguments, or of the fields of a dataclass.

    Arguments:
        kind: the function or the class; values without an annotation are not checked.
        values: by name.
        group: of the configuration, for the message.

    Raises:
        UserError: naming the key, the value and what is allowed.

    >>> def chains(root: str, limit: int | None = None): ...
    >>> check_annotations(chains, {"root": "a", "limit": None}, "data")
    >>> check_annotations(chains, {"root": "a", "limit": 1.5}, "data")
    Traceback (most recent call last):
    partoken.errors.UserError: data.limit=1.5: must be a whole number, or null
    """
    hints = typing.get_type_hints(kind if inspect.isfunction(kind) else kind.__init__)
    for name, value in values.items():
        allowed = _alternatives(hints.get(name, Any))
        if not any(_fits(value, one) for one in allowed):
            words = [WORDS.get(_plain(one), "") for one in allowed]
            listed = " or ".join(dict.fromkeys(filter(None, words)))
            null = ", or null" if type(None) in allowed else ""
            raise UserError(f"{group}.{name}={value!r}: must be {listed}{null}")


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """Returns the members of a union, and a single type as a tuple of one."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _plain(annotation: Any) -> Any:
    """Returns the type as a configuration has it: a sequence is a list, a path is a text."""
    origin = typing.get_origin(annotation) or annotation
    if origin in (Sequence, tuple, list):
        return list
    return {Mapping: dict, os.PathLike: str}.get(origin, origin)


def _fits(value: Any, annotation: Any) -> bool:
    kind = _plain(annotation)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, os.PathLike) or (isinstance(value, str) and value != "")
    if kind is list:
        items = _alternatives(next(iter(typing.get_args(annotation)), Any))
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        return is_list and all(any(_fits(item, one) for one in items) for item in value)
    if kind is dict:
        return isinstance(value, Mapping)
    return kind not in (bool, type(None)) or isinstance(value, kind)
