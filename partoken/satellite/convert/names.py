"""Names of BigEarthNet patches and of Sentinel products."""

import re
from dataclasses import dataclass
from datetime import datetime

from partoken.satellite.tiles.tile import scene_of

__all__ = ["OpticalName", "RadarName", "baseline_in", "optical_name", "radar_name"]

LOCAL_BASELINE = "9999"
"""Baseline in the names of products that a user made with Sen2Cor; it says nothing about the offset."""


@dataclass(frozen=True)
class OpticalName:
    """What the name of a Sentinel-2 patch tells."""

    time: datetime
    """Start of the acquisition."""
    place: str
    """Tile of the Sentinel-2 grid, row and column: `33UUP_26_57`; empty for version 1, whose names lack the tile."""
    scene: str
    """The name without row and column."""


@dataclass(frozen=True)
class RadarName:
    """What the name of a Sentinel-1 patch tells."""

    time: datetime
    place: str


def optical_name(name: str) -> OpticalName | None:
    """Reads the name of a Sentinel-2 patch; None if it is not one.

    >>> optical_name("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57").place
    '33UUP_26_57'
    >>> optical_name("S2A_MSIL2A_20170613T101031_26_57").scene
    'S2A_MSIL2A_20170613T101031'
    """
    match = re.match(r"S2[A-D]_MSIL[12][AC]_(\d{8}T\d{6})_", name)
    if match is None:
        return None
    place = re.search(r"_T(\d{2}[A-Z]{3}_\d+_\d+)$", name)
    return OpticalName(_time(match[1]), place[1] if place else "", scene_of(name))


def radar_name(name: str) -> RadarName | None:
    """Reads the name of a Sentinel-1 patch; None if it is not one.

    >>> radar_name("S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57").place
    '33UUP_26_57'
    """
    match = re.match(r"S1[A-D]_IW_GRD[HM]_1S\w\w_(\d{8}T\d{6})_(?:.*_)?T?(\d{2}[A-Z]{3}_\d+_\d+)$", name)
    return RadarName(_time(match[1]), match[2]) if match else None


def baseline_in(name: str) -> str:
    """Returns the processing baseline in the name of a product; empty if the name has none or a local one.

    >>> baseline_in("S2A_MSIL2A_20220613T101031_N0400_R022_T33UUP_20220613T160000.SAFE")
    '04.00'
    >>> baseline_in("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP")
    ''
    """
    match = re.search(r"_N(\d{2})(\d{2})_", name + "_")
    if match is None or match[1] + match[2] == LOCAL_BASELINE:
        return ""
    return f"{match[1]}.{match[2]}"


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S")
