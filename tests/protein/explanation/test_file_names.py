"""Names of files: safe, different, and like the name of the chain."""

import re

import pytest

from partoken.protein.explanation.file_names import FileNames


@pytest.mark.parametrize("name", ["1abc_A", "fold.v2_B", "x-1"])
def test_a_safe_name_stays(name):
    assert FileNames().name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "../x",
        "..",
        "",
        "a b;quit",
        "-rf",
        "é" * 300,
        "x\n!rm",
        ".hidden",
        "con.1",
        "a/../b",
    ],
)
def test_any_other_name_becomes_one_that_is_safe_in_a_path_and_in_a_script(name):
    safe = FileNames().name(name)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,90}", safe)
    assert ".." not in safe and safe.lower() != "con.1"


def test_names_differ_on_systems_that_ignore_case():
    names = FileNames()
    given = [names.name(name) for name in ("a", "A", "a_2", "?", "!", "a")]
    assert len({name.lower() for name in given}) == len(given)
