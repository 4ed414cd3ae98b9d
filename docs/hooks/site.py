"""Hooks of `mkdocs build`: fill in what comes from the code, add the figures, and reject pages that need a network."""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

import reference
from loads import external_loads

FIGURES = "benchmarks/figures"
"""Folder of the figures that the benchmarks draw; a page names one as ../benchmarks/figures/NAME."""

MAKERS = {
    "settings": reference.settings_table,
    "options": reference.options_table,
    "file": reference.yaml_file,
    "messages": reference.message_list,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path in sorted((reference.ROOT / FIGURES).glob("*.png")):
        files.append(File.generated(config, f"figures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    markdown = markdown.replace(f"../{FIGURES}/", "figures/")
    return re.sub(r"^<!-- generated: (\w+) ?(.*?) -->$", _generate, markdown, flags=re.MULTILINE)


def on_post_build(config: MkDocsConfig) -> None:
    loads = [f"{path}: {url}" for path in sorted(Path(config.site_dir).rglob("*")) for url in external_loads(path)]
    if loads:
        raise PluginError("the manual must open without a network, but loads:\n" + "\n".join(loads))


def _generate(match: re.Match[str]) -> str:
    return MAKERS[match[1]](*match[2].split())
