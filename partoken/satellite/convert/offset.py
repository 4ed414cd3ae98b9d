"""Finds the offset of optical counts in the metadata of a product.

From processing baseline 04.00 on, a count is reflectance x 10,000 + 1000, and 0 stays "no data". The date of the
acquisition does not tell, because old scenes were processed again with new baselines.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from partoken.satellite.convert.names import baseline_in
from partoken.satellite.tiles.tile import BadTile

__all__ = ["Offset", "find_offset", "offset_of_baseline", "offset_of_xml"]

FIRST_WITH_OFFSET = 4.0
OFFSET = 1000


@dataclass(frozen=True)
class Offset:
    """The offset of a product's counts, and where it is stated."""

    value: int | None
    """0 or 1000; None: nothing states it."""
    baseline: str = ""
    """Processing baseline, such as "04.00"; empty: not known."""
    source: str = ""
    """Name of the file or folder that states the offset."""


def find_offset(patch: Path, root: Path) -> Offset:
    """Finds the offset of a patch: in the XML of its product if there is one, or else in the name of a folder.

    Arguments:
        patch: folder of the patch.
        root: folder above which nothing belongs to the patch.

    Raises:
        BadTile: the XML states an offset other than 0 and 1000.
    """
    folders = [patch, *(parent for parent in patch.parents if parent == root or root in parent.parents)]
    for folder in folders:
        offset = _xml_in(folder)
        if offset is not None and offset.value is not None:
            return offset
    for folder in folders:
        baseline = baseline_in(folder.name)
        if baseline:
            return Offset(offset_of_baseline(baseline), baseline, folder.name)
    return Offset(None)


def offset_of_baseline(baseline: str) -> int:
    """Returns the offset that products of a processing baseline carry.

    >>> offset_of_baseline("02.05"), offset_of_baseline("04.00"), offset_of_baseline("05.10")
    (0, 1000, 1000)
    """
    return OFFSET if float(baseline) >= FIRST_WITH_OFFSET else 0


def offset_of_xml(text: str, name: str = "MTD_MSIL2A.xml") -> Offset:
    """Returns the offset that the metadata of a product state.

    Arguments:
        text: content of `MTD_MSIL2A.xml` or `MTD_MSIL1C.xml`.
        name: name of the file.

    Raises:
        BadTile: the offsets of the bands differ, or are neither 0 nor -1000.
    """
    match = re.search(r"<PROCESSING_BASELINE>\s*([\d.]+)\s*<", text)
    baseline = match[1] if match else ""
    found = re.findall(r"<(?:BOA|RADIO)_ADD_OFFSET\b[^>]*>\s*([-+\d.]+)\s*<", text)
    values = {-int(float(value)) for value in found}
    if values:
        if not values <= {0, OFFSET} or len(values) > 1:
            raise BadTile(f"{name} states the offsets {sorted(values)}: all bands must have 0, or all 1000")
        return Offset(values.pop(), baseline, name)
    if not baseline:
        return Offset(None)
    if baseline == "99.99":  # made by a user with Sen2Cor, which lists the offset if there is one
        return Offset(0, baseline, name)
    return Offset(offset_of_baseline(baseline), baseline, name)


@lru_cache(maxsize=1024)  # the patches of a product share its folder
def _xml_in(folder: Path) -> Offset | None:
    for path in sorted(path for path in folder.glob("MTD_MSIL*.xml") if path.is_file()):
        return offset_of_xml(path.read_text(encoding="utf-8", errors="replace"), path.name)
    return None
