"""Finds radar images: NPZ tiles, and GeoTIFF files with both bands or with one band each.

A file whose name ends in `vv` or `vh` holds one band, and the file of the other band has the same name otherwise:
`scene_VV.tif` and `scene_VH.tif` are the image `scene`. Any other GeoTIFF file holds two bands: those with the
descriptions VV and VH, or without descriptions VV first.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path

from partoken.system.skipped import Skipped

__all__ = ["Found", "Source", "find_sources"]

TILE = (".npz",)
GEOTIFF = (".tif", ".tiff")
ONE_BAND = re.compile(r"(?P<name>.+?)[ _.-]*(?P<band>vv|vh)", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A radar image that has not been read yet."""

    name: str
    """Name of its predictions without suffix; with folders if the user gave a folder that has them."""
    files: tuple[Path, ...]
    """The NPZ file, the GeoTIFF file with both bands, or those of VV and VH."""

    @property
    def is_geotiff(self) -> bool:
        """True for GeoTIFF files."""
        return self.files[0].suffix.lower() in GEOTIFF

    @property
    def shown(self) -> str:
        """The files, for a message."""
        return ", ".join(map(str, self.files))


@dataclass
class Found:
    """The images that paths name, and the paths and files that are none."""

    sources: list[Source] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def find_sources(paths: Iterable[str | os.PathLike[str]]) -> Found:
    """Lists the images named by files, folders and patterns, in their order, each once.

    Arguments:
        paths: files; folders, whose NPZ and GeoTIFF files at any depth count; and patterns such as `radar/*.tif`.
    """
    found = Found()
    files: dict[Path, Path] = {}  # file: its place below the folder that the user gave
    for given in paths:
        matches = _matches(given)
        if not matches:
            reason = "the folder holds no .npz, .tif or .tiff file" if Path(given).is_dir() else "no file matches"
            found.skipped.append(Skipped("", str(given), reason))
        for file, place in matches:
            files.setdefault(file, place)
    taken: dict[str, Source] = {}
    for source in _pair(files, found.skipped):
        if source.name in taken:
            reason = f"its predictions would have the name of those of {taken[source.name].shown}; predict it alone"
            found.skipped.append(Skipped("", source.shown, reason))
            continue
        taken[source.name] = source
        found.sources.append(source)
    return found


def _matches(given: str | os.PathLike[str]) -> list[tuple[Path, Path]]:
    path = Path(given)
    if path.is_dir():
        return [(file, file.relative_to(path)) for file in _files_of(path)]
    if path.exists() or not has_magic(str(given)):
        return [(path, Path(path.name))]
    names = sorted(Path(name) for name in glob(str(given), recursive=True))
    return [(file, Path(file.name)) for file in names if file.is_file()]


def _files_of(root: Path) -> list[Path]:
    files: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        files += [Path(folder, name) for name in visible if name.lower().endswith((*TILE, *GEOTIFF))]
    return files


def _pair(files: dict[Path, Path], skipped: list[Skipped]) -> Iterable[Source]:
    """Joins the files of VV and VH; a file whose partner is missing goes to `skipped`."""
    used: set[Path] = set()
    for file, place in files.items():
        if file in used:
            continue
        band = ONE_BAND.fullmatch(file.stem) if file.suffix.lower() in GEOTIFF else None
        if band is None:
            yield Source(place.with_suffix("").as_posix(), (file,))
            continue
        partner = _partner(file, band)
        if partner is None:
            other = "VH" if band["band"].lower() == "vv" else "VV"
            skipped.append(Skipped("", str(file), f"its name ends in {band['band']}, and no {other} file is beside it"))
            continue
        used |= {file, partner}
        pair = (file, partner) if band["band"].lower() == "vv" else (partner, file)
        yield Source(place.with_name(band["name"]).as_posix(), pair)


def _partner(file: Path, band: re.Match[str]) -> Path | None:
    """Returns the file with the other band, whose letters are large or small as in the name."""
    letters = band["band"]
    other = letters[0] + {"v": "h", "h": "v", "V": "H", "H": "V"}[letters[1]]
    partner = file.with_name(file.stem[: band.start("band")] + other + file.suffix)
    return partner if partner.is_file() else None
