"""Finding structure files: by folder, by glob, by name."""

import os
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

from partoken.system.skipped import Skipped

__all__ = ["EXTENSIONS", "find_files", "list_structures", "stem_of"]

EXTENSIONS = (".pdb", ".ent", ".cif", ".mmcif")


def stem_of(path: str | os.PathLike[str]) -> str:
    """Returns a file's name without its folder and its structure extension.

    >>> stem_of("a/1abc.pdb.gz"), stem_of("fold_1.2.cif")
    ('1abc', 'fold_1.2')
    """
    name = Path(path).name
    for extension in (".gz", *EXTENSIONS):
        if name.lower().endswith(extension):
            name = name[: -len(extension)]
    return name


def find_files(root: str | os.PathLike[str]) -> list[Path]:
    """Returns the structure files under a folder by their extension, sorted; hidden ones are left out."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        found += [Path(folder, n) for n in sorted(names) if not n.startswith(".") and _has_extension(n)]
    return found


def list_structures(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[Skipped]]:
    """Lists the files that are meant by files, folders and globs, each once and in their order, and what means none.

    Arguments:
        paths: files of any name, folders (their structure files, at any depth) and patterns such as `pdb/*.cif`.
    """
    files: list[Path] = []
    skipped: list[Skipped] = []
    for given in paths:
        path = Path(given)
        if path.is_dir():
            found = find_files(path)
            none = "the folder holds no structure file (" + ", ".join(EXTENSIONS) + ", also .gz)"
        elif path.exists() or not has_magic(str(given)):
            found, none = [path], ""
        else:
            found, none = sorted(map(Path, glob(str(given), recursive=True))), "no file matches"
            found = [f for f in found if f.is_file()]
        files += found
        if not found:
            skipped.append(Skipped("", str(given), none))
    return list(dict.fromkeys(files)), skipped


def _has_extension(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(EXTENSIONS)
