"""The commands that the manual shows, and the output of those that answer within a second.

    python docs/hooks/commands.py        runs the fast commands and writes what they print into the pages

A block of `console` has lines `$ COMMAND`, each followed by what it prints. The tests run the fast ones and compare.
A line `...` stands for lines that are left out; it is only for commands that take longer.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Example", "blocks", "commands", "examples", "run"]

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A command of the manual, and what the page says that it prints."""

    page: Path
    command: str
    output: str

    @property
    def is_fast(self) -> bool:
        """True if the command answers within seconds: a preview, a configuration, or one that ends with an error."""
        is_preview = self.command.startswith("python -m partoken.schedule")
        lines = self.output.splitlines()
        ends_early = "..." not in lines and any(line.startswith("error:") for line in lines)
        return is_preview or "--cfg" in self.command or ends_early


def blocks(page: Path, language: str) -> list[str]:
    """Returns the blocks of code of a page in one language."""
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def examples() -> Iterator[Example]:
    """Yields the commands of the blocks of `console`, with their output."""
    for page in PAGES:
        for block in blocks(page, "console"):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield Example(page, command, output.rstrip("\n"))


def commands() -> Iterator[tuple[Path, str]]:
    """Yields every command of the manual: in blocks of `console` and `bash`, and in the cells of tables."""
    yield from ((example.page, example.command) for example in examples())
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                yield page, line.split("  #")[0].strip()
        prose = _BLOCK.sub("", page.read_text())
        if page.name == "two-documents.md":  # the first column has the commands of other projects
            prose = re.sub(r"^\|[^|]*", "", prose, flags=re.MULTILINE)
        for code in re.findall(r"`([^`\n]+)`", prose):
            if re.match(r"(OMP_NUM_THREADS=1 )?(python|partoken|make|bash) \S", code):
                yield page, code


def run(command: str) -> str:
    """Runs a command of the manual with this Python, and returns all that it prints; a run leaves no folder here."""
    words = shlex.split(command)
    is_run = "run_partoken.py" in words and not any(word.startswith(("hydra.run.dir=", "--cfg")) for word in words)
    words[:1] = {"python": [sys.executable], "partoken": [sys.executable, "-m", "partoken.cli"]}[words[0]]
    environment = {**os.environ, "COLUMNS": "120"}
    with tempfile.TemporaryDirectory() as folder:
        own = [f"hydra.run.dir={folder}"] if is_run else []
        done = subprocess.run(
            [*words, *own], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    return "\n".join(line.rstrip() for line in done.stdout.rstrip("\n").splitlines())


def _rewrite(page: Path) -> None:
    old = text = page.read_text()
    for example in examples():
        if example.page == page and example.is_fast:
            shown = f"$ {example.command}\n" + (f"{example.output}\n" if example.output else "")
            text = text.replace(shown, f"$ {example.command}\n{run(example.command)}\n", 1)
    if text != old:
        page.write_text(text)
        print(f"updated {page.relative_to(ROOT)}")


if __name__ == "__main__":
    for path in PAGES:
        _rewrite(path)
