"""Structure files in folders, by name, and by pattern."""

import os
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

from partoken.system.skipped import Skipped

__all__ = ["EXTENSIONS", "find_files", "list_structures", "stem_of"]

EXTENSIONS = (".pdb", ".ent", ".cif", ".mmcif")


def stem_of(path: str | os.PathLike[str]) -> str:
    """Returns the name of a file without its folder and its structure extension.

    >>> stem_of("a/1abc.pdb.gz"), stem_of("fold_1.2.cif")
    ('1abc', 'fold_1.2')
    """
    name = Path(path).name
    for extension in (".gz", *EXTENSIONS):
        if name.lower().endswith(extension):
            name = name[: -len(extension)]
    return name


def find_files(root: str | os.PathLike[str]) -> list[Path]:
    """Returns the files in a folder that have a structure extension, at any depth, sorted by folder and name.

    Hidden files and folders are left out.
    """
    files: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        visible = sorted(n for n in names if not n.startswith("."))
        files += [Path(folder, n) for n in visible if _has_extension(n)]
    return files


def list_structures(
    paths: Iterable[str | os.PathLike[str]],
) -> tuple[list[Path], list[Skipped]]:
    """Lists the structure files named by files, folders and patterns.

    Arguments:
        paths: files of any name, folders (their structure files at any depth) and patterns such as `pdb/*.cif`.

    Returns:
        The files in the order of `paths`, each once; and the paths that name no file.
    """
    files: list[Path] = []
    skipped: list[Skipped] = []
    for given in paths:
        path = Path(given)
        reason = "no file matches"
        if path.is_dir():
            matches = find_files(path)
            reason = f"the folder holds no structure file ({', '.join(EXTENSIONS)}, also .gz)"
        elif path.exists() or not has_magic(str(given)):
            matches = [path]
        else:
            names = sorted(Path(m) for m in glob(str(given), recursive=True))
            matches = [m for m in names if m.is_file()]
        files += matches
        if not matches:
            skipped.append(Skipped("", str(given), reason))
    return list(dict.fromkeys(files)), skipped


def _has_extension(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(EXTENSIONS)
