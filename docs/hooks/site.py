"""Hooks of `mkdocs build`: fill in what comes from the code, add the figures, and reject pages that need a network."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

import reference  # noqa: E402

FIGURES = "benchmarks/figures"
"""Folder of the figures that the benchmarks draw; a page names one as ../benchmarks/figures/NAME."""

LOADED = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src",),
    "audio": ("src",),
}
"""Attributes through which a browser loads a file while it opens a page."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path in sorted((reference.ROOT / FIGURES).glob("*.png")):
        files.append(File.generated(config, f"figures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    markdown = markdown.replace(f"../{FIGURES}/", "figures/")
    return re.sub(r"^<!-- generated: (\w+) ?(.*?) -->$", _generate, markdown, flags=re.MULTILINE)


def on_post_build(config: MkDocsConfig) -> None:
    found = [f"{path}: {url}" for path in sorted(Path(config.site_dir).rglob("*")) for url in external_loads(path)]
    if found:
        raise PluginError("the manual must open without a network, but loads:\n" + "\n".join(found))


def external_loads(path: Path) -> list[str]:
    """Returns the addresses outside the site that a page or a style sheet loads."""
    if path.suffix == ".css":
        return re.findall(r"(?:url\(|@import\s+)['\"]?((?:https?:)?//[^)'\"]+)", path.read_text())
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
        names = LOADED.get(tag, ())
        if tag == "link" and values.get("rel") != "canonical":
            names = ("href",)
        self.found += [url for name in names if re.match(r"(https?:)?//", url := values.get(name) or "")]


def _generate(match: re.Match[str]) -> str:
    name, *words = [match[1], *match[2].split()]
    maker = {
        "settings": reference.settings_table,
        "options": reference.options_table,
        "file": reference.yaml_file,
        "messages": reference.message_list,
    }[name]
    return maker(*words)
