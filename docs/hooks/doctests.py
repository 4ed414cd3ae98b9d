"""Shows the doctests of a docstring as code in the API reference; without it Markdown takes `>>>` for quotations."""

from collections.abc import Iterator
from typing import Any

import griffe


class Doctests(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = "\n".join(_fence(obj.docstring.value.splitlines()))


def _fence(lines: list[str]) -> Iterator[str]:
    """Puts a fence around each doctest: from its first `>>>` to the next empty line, or to the end."""
    indent = None
    for line in [*lines, ""]:
        if indent is None and line.lstrip().startswith(">>>"):
            indent = line[: len(line) - len(line.lstrip())]
            yield from ("", f"{indent}```pycon")
        elif indent is not None and not line.strip():
            yield f"{indent}```"
            indent = None
        yield line
