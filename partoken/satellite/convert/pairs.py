"""Finds the patches of a BigEarthNet folder, version 1 or 2, and pairs radar with optical patches.

Version 1: `.../S2A_MSIL2A_20170613T101031_0_45/` holds `..._B02.tif` and so on, and the radar patch
`.../S1B_IW_GRDH_1SDV_20170612T165809_33UUP_0_45/` holds `..._VV.tif`, `..._VH.tif` and `..._labels_metadata.json`,
whose `corresponding_s2_patch` names the optical patch.

Version 2 has one more folder level, named after the product. Its `metadata.parquet` names the radar patch of each
optical patch, its split, and whether it has clouds or snow. The converter reads it as `metadata.csv` or, if pyarrow is
installed, as it is. Without it, the patches are paired by place and time.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from partoken.errors import UserError
from partoken.satellite.convert.names import RadarName, optical_name, radar_name
from partoken.system.skipped import Skipped
from partoken.system.tables import read_table
from partoken.system.user_files import open_regular

__all__ = ["Pair", "Patches", "find_patches", "pair_patches", "read_metadata"]

FLAGS = ("contains_cloud_or_shadow", "contains_seasonal_snow")


@dataclass(frozen=True)
class Pair:
    """An optical patch and the radar patch of the same ground."""

    optical: Path
    """Folder of the optical patch."""
    radar: Path
    """Folder of the radar patch."""
    split: str = ""
    """The split that the metadata give; empty: none."""

    @property
    def name(self) -> str:
        """Name of the tile: that of the optical patch."""
        return self.optical.name


@dataclass
class Patches:
    """The folders of all patches, by name."""

    optical: dict[str, Path] = field(default_factory=dict)
    radar: dict[str, Path] = field(default_factory=dict)


def find_patches(root: Path) -> Patches:
    """Finds the folders of patches at any depth.

    Raises:
        UserError: there is no such folder, or it holds no optical or no radar patch.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    patches = Patches()
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        path = Path(folder)
        if any(name.endswith("_B02.tif") for name in names):
            patches.optical[path.name] = path
        elif any(name.endswith("_VV.tif") for name in names):
            patches.radar[path.name] = path
    if not patches.optical or not patches.radar:
        raise UserError(
            f"{root}: {len(patches.optical)} optical patches (folders with NAME_B02.tif) and {len(patches.radar)} "
            "radar patches (folders with NAME_VV.tif); give the folder that holds both, such as the parent of "
            "BigEarthNet-S1 and BigEarthNet-S2"
        )
    return patches


def read_metadata(root: Path) -> dict[str, dict[str, str]]:
    """Returns the rows of `metadata.csv` or `metadata.parquet` by optical patch; empty if there is no such file.

    Raises:
        UserError: the file cannot be read, or lacks the column `patch_id`.
    """
    for path in (root / "metadata.csv", root / "metadata.parquet"):
        if path.is_file():
            rows = read_table(path) if path.suffix == ".csv" else _read_parquet(path)
            if rows and "patch_id" not in rows[0]:
                raise UserError(f"{path} has no column patch_id; it has {', '.join(rows[0])}")
            return {row["patch_id"]: row for row in rows}
    return {}


def _read_parquet(path: Path) -> list[dict[str, str]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            f"{path} needs pyarrow: run pip install pyarrow, or save the table as metadata.csv beside it"
        ) from None
    rows = parquet.read_table(path, columns=None).to_pylist()
    return [{name: str(value) for name, value in row.items()} for row in rows]


def pair_patches(
    patches: Patches, metadata: Mapping[str, Mapping[str, str]] | None = None, *, cloudy: bool = False
) -> tuple[list[Pair], list[Skipped]]:
    """Pairs each optical patch with a radar patch: by the metadata, by the JSON file of the radar patch, or by name.

    By name, both patches have one place, and the radar patch is the one nearest in time.

    Arguments:
        patches: the patches of both satellites.
        metadata: rows by optical patch, with `s1_name`, `split` and flags for clouds and snow; None: no metadata.
        cloudy: True keeps patches that the metadata flag as cloudy, shadowed or snowy.

    Returns:
        The pairs, sorted by name; and the optical patches without a pair, with the reason for each.
    """
    partner = _partners_in_json(patches.radar)
    by_place = _by_place(patches.radar)
    pairs, skipped = [], []
    for name, folder in sorted(patches.optical.items()):
        row = (metadata or {}).get(name, {})
        flags = [flag for flag in FLAGS if row.get(flag, "").strip().lower() in ("true", "1")]
        if flags and not cloudy:
            skipped.append(Skipped(name, str(folder), f"{flags[0]} in the metadata; --cloudy keeps it", unusable=False))
            continue
        radar = row.get("s1_name") or partner.get(name) or _nearest(name, by_place)
        if not radar:
            skipped.append(Skipped(name, str(folder), "no radar patch: no metadata, JSON file or name pairs it"))
        elif radar not in patches.radar:
            skipped.append(Skipped(name, str(folder), f"its radar patch is missing: {radar}"))
        else:
            pairs.append(Pair(folder, patches.radar[radar], row.get("split", "")))
    return pairs, skipped


def _partners_in_json(radar: Mapping[str, Path]) -> dict[str, str]:
    """Returns the name of the radar patch by that of its optical patch, as the JSON files of version 1 say."""
    found = {}
    for name, folder in radar.items():
        try:
            with open_regular(folder / f"{name}_labels_metadata.json") as file:
                content = json.loads(file.read())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and isinstance(content.get("corresponding_s2_patch"), str):
            found[content["corresponding_s2_patch"]] = name
    return found


def _by_place(radar: Mapping[str, Path]) -> dict[str, list[tuple[RadarName, str]]]:
    found: dict[str, list[tuple[RadarName, str]]] = {}
    for name in sorted(radar):
        parsed = radar_name(name)
        if parsed is not None:
            found.setdefault(parsed.place, []).append((parsed, name))
    return found


def _nearest(name: str, by_place: Mapping[str, Sequence[tuple[RadarName, str]]]) -> str:
    """Returns the radar patch of the same place that is nearest in time; empty if there is none."""
    parsed = optical_name(name)
    if parsed is None or not parsed.place:
        return ""
    candidates = by_place.get(parsed.place, ())
    return min(candidates, key=lambda item: abs(item[0].time - parsed.time), default=(None, ""))[1]
