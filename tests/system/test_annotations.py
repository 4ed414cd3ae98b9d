"""Values are checked against the annotations of what receives them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from partoken.errors import UserError
from partoken.system.annotations import check_annotations


@dataclass
class Options:
    flag: bool = False
    count: int | None = None
    size: float = 1.0
    name: str = "a"
    names: Sequence[str | int] | None = None
    names_of: Mapping[Any, str] | None = None
    place: str | os.PathLike[str] | None = None
    anything: Any = None


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("flag", 1, "true or false"),
        ("flag", None, "true or false"),
        ("count", 1.5, "a whole number, or null"),
        ("count", True, "a whole number, or null"),
        ("size", float("nan"), "a finite number"),
        ("size", None, "a finite number"),
        ("name", "", "a text that is not empty"),
        ("name", 3, "a text that is not empty"),
        ("names", "a", "a list, or null"),
        ("names", [1.5], "a list, or null"),
        ("names_of", [1], "a mapping, or null"),
        ("place", 3, "a text that is not empty, or null"),
    ],
)
def test_a_value_of_another_type_is_named_with_what_is_allowed(key, value, allowed):
    with pytest.raises(UserError) as caught:
        check_annotations(Options, {key: value}, "data")
    assert str(caught.value) == f"data.{key}={value!r}: must be {allowed}"


def test_values_of_the_right_type_pass():
    values = {"flag": True, "count": None, "size": 2, "name": "b", "names": ["a", 1], "names_of": {1: "b"}}
    check_annotations(Options, {**values, "place": os.curdir, "anything": object(), "unknown": 1}, "data")
