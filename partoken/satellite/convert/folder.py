"""Converts a folder of patches to a folder of tiles; a stopped conversion continues where it stopped."""

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from partoken.errors import UserError
from partoken.satellite.convert.geotiff import RasterReader, check_rasterio, read_geotiff
from partoken.satellite.convert.pairs import Pair, find_patches, pair_patches, read_metadata
from partoken.satellite.convert.patch import Converted, convert_patch
from partoken.satellite.tiles.tile import scene_of
from partoken.system.files import write_json
from partoken.system.parallel import map_parallel
from partoken.system.skipped import Skipped, write_skipped

__all__ = ["Conversion", "Summary", "convert_folder"]

SETTINGS = "conversion.json"
VERSION = 1
FEW = 64
"""Below this number of patches, starting processes takes longer than it saves."""


@dataclass(frozen=True)
class Conversion:
    """How a folder is converted. A folder of tiles is made with one setting only."""

    assumed_offset: int = 0
    """Offset of products whose metadata do not state it: 0 or 1000."""
    cloudy: bool = False
    """True keeps patches that the metadata flag as cloudy, shadowed or snowy."""
    keep_splits: bool = False
    """True writes the splits of the metadata into the tiles. They divide scenes, so neighbouring tiles leak."""


@dataclass
class Summary:
    """What a conversion did."""

    written: int = 0
    already_there: int = 0
    offset_removed: int = 0
    offset_unknown: int = 0
    bright: int = 0
    """Tiles of an unknown offset, taken as 0, without a count from 1 to 999."""
    skipped: list[Skipped] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Returns the summary as lines for a person."""
        unusable = sum(item.unusable for item in self.skipped)
        parts = [f"{self.written:,} tiles written", f"{self.already_there:,} were there", f"{unusable:,} not usable"]
        if flagged := len(self.skipped) - unusable:
            parts.append(f"{flagged:,} cloudy or snowy")
        lines = [", ".join(parts) + ("; see skipped.csv" if self.skipped else "")]
        if self.offset_removed:
            lines.append(f"optical offset 1000 removed from {self.offset_removed:,} tiles")
        if self.offset_unknown:
            lines.append(f"nothing states the optical offset of {self.offset_unknown:,} tiles: --s2-offset decided")
        if self.bright > 0.9 * max(self.offset_unknown, 1):
            lines.append(
                f"warning: {self.bright:,} of them have no count below 1000, as if they carried an offset of 1000"
            )
        return lines


def convert_folder(
    source: Path,
    out: Path,
    conversion: Conversion | None = None,
    *,
    limit: int | None = None,
    workers: int | None = None,
    read: RasterReader = read_geotiff,
) -> Summary:
    """Writes a tile `OUT/SCENE/PATCH.npz` for each pair of patches, and `OUT/skipped.csv`.

    Tiles that exist are not made again. A tile appears under its name only when it is complete.

    Arguments:
        source: folder with the radar and optical patches at any depth.
        out: folder of the tiles; it is created.
        conversion: how to convert; None: the defaults.
        limit: largest number of patches to convert; None: all.
        workers: number of processes; None takes all cores.
        read: reads a raster file.

    Raises:
        UserError: the source holds no pair, rasterio is not installed, or the tiles in `out` were made with another
            setting.
    """
    conversion = conversion or Conversion()
    pairs, skipped = pair_patches(find_patches(source), read_metadata(source), cloudy=conversion.cloudy)
    if not conversion.keep_splits:
        pairs = [Pair(pair.optical, pair.radar) for pair in pairs]
    pairs = pairs[:limit]
    if read is read_geotiff:
        check_rasterio()
    _check_settings(out, conversion)
    summary = Summary(skipped=skipped)
    missing = [pair for pair in pairs if not _tile_path(out, pair).exists()]
    summary.already_there = len(pairs) - len(missing)
    convert = partial(_convert, out=out, root=source, assumed_offset=conversion.assumed_offset, read=read)
    try:
        for pair, result in zip(
            missing,
            map_parallel(convert, missing, description="converting", when_killed=_killed, workers=workers, few=FEW),
            strict=True,
        ):
            _count(summary, pair, result)
    finally:
        write_skipped(out / "skipped.csv", summary.skipped)
    if not summary.written and not summary.already_there:
        first = f"; the first: {summary.skipped[0].reason}" if summary.skipped else ""
        raise UserError(f"{source}: none of {len(summary.skipped)} patches can be converted, see skipped.csv{first}")
    return summary


def _convert(pair: Pair, out: Path, root: Path, assumed_offset: int, read: RasterReader) -> Converted:
    return convert_patch(pair, _tile_path(out, pair), root, assumed_offset, read)


def _killed(pair: Pair) -> Converted:
    return Converted(pair.name, "reading it killed the process")


def _tile_path(out: Path, pair: Pair) -> Path:
    return out / scene_of(pair.name) / f"{pair.name}.npz"


def _count(summary: Summary, pair: Pair, result: Converted) -> None:
    if result.reason:
        summary.skipped.append(Skipped(pair.name, str(pair.optical), result.reason))
        return
    summary.written += 1
    summary.offset_removed += result.offset_removed > 0
    summary.offset_unknown += not result.offset_known
    summary.bright += not result.offset_known and not result.offset_removed and result.darkest >= 1000


def _check_settings(out: Path, conversion: Conversion) -> None:
    """Writes the settings into `out`, or checks that they are those of an earlier conversion."""
    out.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, Any] = {"version": VERSION, **vars(conversion)}
    path = out / SETTINGS
    if not path.is_file():
        write_json(path, wanted)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is damaged: delete it, or convert into an empty folder") from None
    if found != wanted:
        raise UserError(f"{out} holds tiles made with {found}, not {wanted}: convert into an empty folder")
