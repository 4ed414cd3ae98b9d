"""The table of misuses: the files in `rows/`, one misuse a line.

A line is `what the message must contain<TAB>command`; lines that begin with # are comments. The command begins with

- RUN: `run_partoken.py` with a tiny job of two epochs,
- TILES: the same with a tiny job on satellite tiles,
- PREVIEW: `python -m partoken.schedule`,
- PARTOKEN: the command `partoken`,
- MODULE: one of `MODULES`, `python -m` as a user starts them.

Inside a command DIR is an empty folder, CKPT the best checkpoint of a finished tiny run, LAST its last one, FIRST its
run folder, TILED that of a tiny run on satellite tiles, and FILES a folder with the files of `tests.misuse.files`.
"""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.commands import ROOT, TRAIN

TINY = [
    "data.limit=24",
    "train.batch_size=4",
    "model.num_layers=1",
    "model.node_h_dim=[16,4]",
    "model.num_neighbors=8",
]
TINY_TILES = [
    "experiment=axion_stage1",
    "model.channels=[6,8]",
    "model.depths=[1,1]",
    "data.limit=6",
    "data.crop=24",
    "train.epochs=2",
]

MODULES = {
    "convert": "partoken.satellite.convert.__main__",
    "embed": "partoken.protein.language_model.__main__",
    "stage1": "partoken.satellite.train_stage1",
    "stage2": "partoken.satellite.train_stage2",
}
"""Modules that are commands of their own, by the word after MODULE."""

IN_PROCESSES = "processes"
"""Name of the file whose commands run in a process of their own, as a user starts them."""


@dataclass(frozen=True)
class Misuse:
    """One line of the table."""

    topic: str
    """Name of its file."""
    needle: str
    """Part of the message, in any case of letters."""
    command: str

    @property
    def name(self) -> str:
        """Its name among the tests."""
        return f"{self.topic}: {self.command}"


def read_table() -> Iterator[Misuse]:
    """Yields the misuses of all files."""
    for file in sorted(Path(__file__).with_name("rows").glob("*.tsv")):
        for line in file.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                needle, command = line.split("\t")
                yield Misuse(file.stem, needle, command)


def words_of(command: str, places: dict[str, Path]) -> list[str]:
    """Returns a command of the table as the words of the command `partoken`.

    Arguments:
        command: of the table.
        places: the files and folders that its words in capitals stand for.

    >>> words_of("RUN train.epochs=0", {"DIR": Path("here")})[-2:]
    ['train.epochs=0', 'hydra.run.dir=here/run']
    """
    for name, path in places.items():
        command = command.replace(name, str(path))
    first, *words = shlex.split(command)
    if first == "PREVIEW":
        return ["preview", *words]
    if first == "MODULE" or (first == "PARTOKEN" and words[0] != "train"):
        return words
    if not any("hydra.run.dir" in word or "hydra.sweep.dir" in word for word in words):
        words = [*words, f"hydra.run.dir={places['DIR']}/run"]
    if first == "PARTOKEN":
        return words
    tiny = TINY_TILES if first == "TILES" else [*TINY, *([] if "epochs" in command else ["train.epochs=2"])]
    return ["train", *tiny, *words]


def run_process(words: list[str]) -> tuple[int, str]:
    """Runs the words of `partoken` in a process, and returns its exit status and its output."""
    command, *rest = words
    program = {
        "train": TRAIN,
        "preview": [sys.executable, "-m", "partoken.schedule"],
    }.get(command, [sys.executable, "-m", "partoken.cli", command])
    done = subprocess.run(
        [*program, *rest], cwd=ROOT, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout + done.stderr


def run_here(main: Callable[[list[str]], int], words: list[str]) -> int:
    """Runs the words of `partoken`, or of one of `MODULES`, in this process, and returns the exit status."""
    if words[0] in MODULES:
        main, words = import_module(MODULES[words[0]]).main, words[1:]
    try:
        return main(words)
    except SystemExit as end:  # of argparse and of Hydra
        return end.code if isinstance(end.code, int) else 1
