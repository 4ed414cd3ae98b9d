"""The report on the data of a run: tiles, scenes, missing pixels, and what was left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from partoken.satellite.dataset.assembly import Selection, TileDataset
from partoken.satellite.dataset.folder import TileCollection
from partoken.satellite.tiles.tile import TileInfo
from partoken.system.skipped import Skipped

__all__ = ["data_report", "describe_report"]

SHOWN_REASONS = 3
SHOWN_SCENES = 3
MOST_NAMES = 200
"""Scenes of a split that the report names, for `data.val_scenes` and `data.test_scenes`."""
USUAL_OFFSET = 1000
MOST = 0.9
"""Fraction of tiles without a dark pixel from which the report suspects an offset."""


def data_report(
    collection: TileCollection,
    skipped: Sequence[Skipped],
    selection: Selection,
    datasets: Mapping[str, TileDataset],
) -> dict[str, Any]:
    """Returns the numbers of tiles, scenes and missing pixels as plain values.

    Arguments:
        collection: the tiles of the source.
        skipped: inputs that are not used.
        selection: the tiles in use.
        datasets: the splits.
    """
    infos = {split: dataset.infos for split, dataset in datasets.items()}
    used = [info for members in infos.values() for info in members]
    reasons = Counter(_kind(item.reason) for item in skipped)
    return {
        "files": collection.num_inputs,
        "tiles_read": len(collection.store),
        "tiles_used": len(used),
        "tile_size": list(used[0].shape) if len({info.shape for info in used}) == 1 else None,
        "split": selection.kind,
        "tiles": {split: len(members) for split, members in infos.items()},
        "scenes": {split: len({info.scene for info in members}) for split, members in infos.items()},
        "scene_names": {
            split: sorted({info.scene for info in members})[:MOST_NAMES] for split, members in infos.items()
        },
        "scenes_in_several_splits": _shared_scenes(infos),
        "pixels": {split: sum(_area(info) for info in members) for split, members in infos.items()},
        "masked_pixels": {
            split: {
                "radar": sum(info.missing_radar for info in members),
                "optical": sum(info.missing_optical for info in members),
            }
            for split, members in infos.items()
        },
        "with_month": sum(info.month > 0 for info in used),
        "with_biome": sum(info.biome >= 0 for info in used),
        "s2_offset_subtracted": used[0].offset,
        "s2_offset_stated": sum(info.offset_stated for info in used),
        "tiles_without_dark_pixels": sum(info.darkest >= USUAL_OFFSET for info in used),
        "megabytes_in_memory": round(collection.store.num_bytes / 1e6, 1),
        "tiles_read_per_batch": len(collection.store) - collection.store.num_in_memory,
        "left_out": {
            "without_split": selection.without_split,
            "over_limit": selection.over_limit,
            "skipped": dict(reasons.most_common()),
        },
    }


def describe_report(report: Mapping[str, Any]) -> list[str]:
    """Returns the report as a few lines for the log.

    Arguments:
        report: the result of `data_report`.
    """
    lines = [_describe_size(report), _describe_masks(report), _describe_offset(report)]
    left_out = report["left_out"]
    reasons = {"without a split": left_out["without_split"], "over data.limit": left_out["over_limit"]}
    if any(reasons.values()):
        parts = [f"{reason} {count}" for reason, count in reasons.items() if count]
        lines.append(f"left out: tiles {', '.join(parts)}")
    if left_out["skipped"]:
        lines.append(f"skipped, see skipped.csv: {_describe_skipped(left_out['skipped'])}")
    if report["tiles_read_per_batch"]:
        lines.append(
            f"{report['tiles_read_per_batch']:,} tiles exceed data.memory_limit_mb and are read for each batch; "
            "train.num_workers reads them in parallel"
        )
    if shared := report["scenes_in_several_splits"]:
        more = f" and {len(shared) - SHOWN_SCENES} more" if len(shared) > SHOWN_SCENES else ""
        lines.append(
            f"leak: {', '.join(shared[:SHOWN_SCENES])}{more}: scenes with tiles in more than one split, so the scores "
            "are too good; data.split=scene keeps scenes together"
        )
    return lines


def _describe_size(report: Mapping[str, Any]) -> str:
    tiles, scenes = report["tiles"], report["scenes"]
    splits = ", ".join(f"{split} {tiles[split]} of {_scenes(scenes[split])}" for split in tiles)
    size = "of several sizes" if report["tile_size"] is None else "of {} x {} pixels".format(*report["tile_size"])
    how = "given" if report["split"] == "given" else "by scene"
    return f"data: {report['tiles_used']:,} of {report['files']:,} tiles {size}; splits {how}: {splits}"


def _scenes(count: int) -> str:
    return f"{count} scene{'' if count == 1 else 's'}"


def _describe_masks(report: Mapping[str, Any]) -> str:
    pixels = sum(report["pixels"].values())
    parts = []
    for sensor in ("radar", "optical"):
        count = sum(masked[sensor] for masked in report["masked_pixels"].values())
        parts.append(f"{sensor} {count:,} ({count / pixels:.2%})")
    return (
        f"masked pixels: {', '.join(parts)}; month known for {report['with_month']}, biome for {report['with_biome']}"
    )


def _describe_offset(report: Mapping[str, Any]) -> str:
    offset, stated = report["s2_offset_subtracted"], report["s2_offset_stated"]
    line = f"optical offset: {offset}, as {'the tiles state' if stated else 'data.s2_offset says'}"
    bright = report["tiles_without_dark_pixels"]
    if not offset and not stated and bright >= MOST * report["tiles_used"]:
        line += (
            f"; but {bright} tiles have no count below {USUAL_OFFSET}, as products of processing baseline 04.00 and "
            "later: check whether data.s2_offset=1000 is right"
        )
    return line


def _describe_skipped(skipped: Mapping[str, int]) -> str:
    reasons = list(skipped.items())
    parts = [f"{reason} ({count})" for reason, count in reasons[:SHOWN_REASONS]]
    others = sum(count for _, count in reasons[SHOWN_REASONS:])
    return ", ".join([*parts, f"others ({others})"] if others else parts)


def _shared_scenes(infos: Mapping[str, Sequence[TileInfo]]) -> list[str]:
    seen = Counter(scene for members in infos.values() for scene in {info.scene for info in members})
    return sorted(scene for scene, count in seen.items() if count > 1)


def _area(info: TileInfo) -> int:
    return info.shape[0] * info.shape[1]


def _kind(reason: str) -> str:
    """Returns a reason without the details of the single case."""
    return reason.split(":")[0].split(" (")[0]
