"""Finds what a built page loads from the network."""

import re
from html.parser import HTMLParser
from pathlib import Path

__all__ = ["external_loads"]

_LOADED = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src",),
    "audio": ("src",),
}
_OUTSIDE = re.compile(r"(https?:)?//")


def external_loads(path: Path) -> list[str]:
    """Returns the addresses outside the site that a page or a style sheet loads; links to follow do not count."""
    if path.suffix == ".css":
        return re.findall(r"(?:url\(\s*|@import\s+)['\"]?((?:https?:)?//[^)'\"\s]+)", path.read_text())
    if path.suffix == ".html":
        parser = _Loads()
        parser.feed(path.read_text())
        return parser.found
    return []


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        names = _LOADED.get(tag, ())
        if tag == "link" and values.get("rel") != "canonical":
            names = ("href",)
        self.found += [url for name in names if _OUTSIDE.match(url := values.get(name) or "")]
