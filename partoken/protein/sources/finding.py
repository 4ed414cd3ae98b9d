"""Structure files in folders, in tar archives, by name, and by pattern."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path

from partoken.protein.sources.archive import TarMember, list_members
from partoken.system.skipped import Skipped
from partoken.system.user_files import printable

__all__ = [
    "READABLE",
    "FolderFiles",
    "find_files",
    "list_structures",
    "members_of",
    "stem_of",
]

EXTENSIONS = (".pdb", ".ent", ".cif", ".mmcif", ".bcif", ".fcz")
ARCHIVE = ".tar"
READABLE = f"{', '.join(EXTENSIONS)}, also .gz, and {ARCHIVE}"
"""The kinds of files that are read, for messages."""
LONGEST_SUFFIX = 12
"""Characters; what follows the last dot of a longer name is no suffix."""


@dataclass
class FolderFiles:
    """The files of a folder at any depth."""

    structures: list[Path] = field(default_factory=list)
    """Structure files and tar archives, sorted by folder and name."""
    others: Counter[str] = field(default_factory=Counter)
    """Number of visible files that are not read, by suffix, see `suffix_of`."""
    skipped: list[Skipped] = field(default_factory=list)
    """Subfolders that cannot be listed, and links to folders, which are not followed."""


def stem_of(path: str | os.PathLike[str]) -> str:
    """Returns the name of a file without its folder and its structure extension.

    >>> stem_of("a/1abc.pdb.gz"), stem_of("fold_1.2.cif")
    ('1abc', 'fold_1.2')
    """
    name = os.path.basename(path)
    for extension in (".gz", *EXTENSIONS):
        if name.lower().endswith(extension):
            name = name[: -len(extension)]
    return name


def suffix_of(name: str) -> str:
    """Returns the kind of a file that is not read, for counting.

    >>> suffix_of("1abc.PDB.bz2"), suffix_of("list.json.gz"), suffix_of("README")
    ('.bz2', '.json.gz', 'no suffix')
    """
    stem, suffix = os.path.splitext(name.lower())
    if suffix == ".gz":
        suffix = os.path.splitext(stem)[1] + suffix
    return printable(suffix) if 1 < len(suffix) <= LONGEST_SUFFIX else "no suffix"


def find_files(root: str | os.PathLike[str]) -> FolderFiles:
    """Finds the structure files of a folder at any depth, and counts the files that are not read.

    Hidden files and folders are left out.
    """
    found = FolderFiles()

    def unlisted(error: OSError) -> None:
        reason = f"the folder cannot be listed: {error.strerror}"
        found.skipped.append(Skipped("", printable(str(error.filename)), reason))

    for folder, subfolders, names in os.walk(root, onerror=unlisted):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        for link in (s for s in subfolders if os.path.islink(os.path.join(folder, s))):
            reason = "a link to a folder is not followed"
            found.skipped.append(Skipped("", printable(os.path.join(folder, link)), reason, unusable=False))
        for name in sorted(n for n in names if not n.startswith(".")):
            if is_structure(name) or name.lower().endswith(ARCHIVE):
                found.structures.append(Path(folder, name))
            else:
                found.others[suffix_of(name)] += 1
    return found


def is_structure(name: str) -> bool:
    """Checks that the name of a file, or of a member of an archive, is that of a structure file."""
    return name.lower().removesuffix(".gz").endswith(EXTENSIONS)


def members_of(path: Path) -> Iterator[Path | TarMember | Skipped | Counter[str]]:
    """Yields a structure file itself, and the structure files in a tar archive.

    Arguments:
        path: a file; a name that ends in `.tar` is that of an archive.

    Yields:
        Structure files, archives or parts of them that cannot be read, and the number of other files in an archive by
        suffix.
    """
    if path.suffix.lower() != ARCHIVE:
        yield path
        return
    others: Counter[str] = Counter()
    is_empty = True
    for member in list_members(path):
        if isinstance(member, TarMember) and not is_structure(member.name):
            others[suffix_of(Path(member.name).name)] += 1
            continue
        is_empty = False
        yield member
    if is_empty:
        yield Skipped("", printable(str(path)), f"the archive holds no structure file ({READABLE})")
    yield others


def list_structures(
    paths: Iterable[str | os.PathLike[str]],
) -> tuple[list[Path | TarMember], list[Skipped]]:
    """Lists the structure files named by files, folders, tar archives and patterns.

    Arguments:
        paths: files of any name, folders (their structure files at any depth), tar archives (the structure files in
            them) and patterns such as `pdb/*.cif`.

    Returns:
        The files in the order of `paths`, each once. And the paths that name no file; with an entry for each suffix of
        the files in a folder or archive that are not read.
    """
    files: dict[Path | TarMember, None] = {}
    skipped: list[Skipped] = []
    for given in paths:
        found = _named_by(given)
        others = found.others
        skipped += found.skipped
        for item in (item for file in found.structures for item in members_of(file)):
            if isinstance(item, Counter):
                others += item
            elif isinstance(item, Skipped):
                skipped.append(item)
            else:
                files[item] = None
        for suffix, count in sorted(others.items()):
            reason = f"files that are not read: {count} {suffix}"
            skipped.append(Skipped("", printable(str(given)), reason, unusable=False))
    return list(files), skipped


def _named_by(given: str | os.PathLike[str]) -> FolderFiles:
    """Returns the files and archives that a file name, folder or pattern names."""
    path = Path(given)
    reason = "no file matches"
    if path.is_dir():
        found = find_files(path)
        reason = f"the folder holds no structure file ({READABLE})"
    elif path.exists() or not has_magic(str(given)):
        found = FolderFiles([path])
    else:
        names = sorted(Path(match) for match in glob(str(given), recursive=True))
        found = FolderFiles([name for name in names if name.is_file()])
    if not found.structures:
        found.skipped.append(Skipped("", printable(str(given)), reason))
    return found
