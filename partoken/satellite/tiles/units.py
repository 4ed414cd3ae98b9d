"""Checks that bands have the units that a tile needs: radar in dB, optical counts of reflectance x 10,000."""

import numpy as np

from partoken.satellite.tiles.tile import BadTile

__all__ = ["RADAR_UNITS", "as_decibel", "check_optical", "check_radar", "check_subtracted", "to_decibel"]

RADAR_UNITS = ("db", "linear")
PLAUSIBLE_DECIBEL = (-50.0, 10.0)
"""Limits of the median of a tile. Calm water has about -30 dB, a city about 0 dB."""
HIGHEST_DECIBEL = 60.0
HIGHEST_POWER = 10.0
"""Limit of the median of linear power; digital numbers have medians of 50 and more."""
FEW = 0.01
"""A fraction of the values that may be odd."""
HIGHEST_REFLECTANCE = 2.0
"""Values up to it in all bands are reflectance, not counts: a count of 2 is a reflectance of 0.0002."""
LOWEST_COUNT = -1000
"""Counts without offset may be negative over dark surfaces, but not below it."""


def to_decibel(values: np.ndarray, units: str) -> np.ndarray:
    """Checks the units of radar and returns it in dB.

    Arguments:
        values: floats [2, H, W]: VV and VH.
        units: what the values are: "db", or "linear" for power.

    Returns:
        float [2, H, W]; NaN where linear power is not positive.

    Raises:
        BadTile: the values cannot have these units.
    """
    check_radar(values, units)
    return as_decibel(values, units)


def as_decibel(values: np.ndarray, units: str) -> np.ndarray:
    """Returns radar in dB without a check; the arguments are as for `to_decibel`."""
    if units == "db":
        return values
    positive = np.where(values > 0, values, np.nan)
    return np.asarray(10 * np.log10(positive))


def check_radar(values: np.ndarray, units: str) -> None:
    """Checks that radar can have its units.

    Arguments:
        values: floats [2, ...]: VV and VH.
        units: what the values are: "db", or "linear" for power.

    Raises:
        BadTile: the values cannot have these units.
    """
    known = values[np.isfinite(values) & (values != 0)]
    if not known.size:
        raise BadTile("the radar has no valid pixel")
    median, highest = float(np.median(known)), float(known.max())
    negative = float((known < 0).mean())
    if units == "linear":
        _check_linear(median, negative)
        return
    if negative <= FEW and median <= HIGHEST_POWER:
        raise BadTile(
            f"the radar is not in dB: hardly any value is negative (median {median:.3g}), as in linear power; "
            "set data.s1_units=linear if it is, in a prediction --s1-units linear"
        )
    low, high = PLAUSIBLE_DECIBEL
    if negative <= FEW or highest > HIGHEST_DECIBEL or not low <= median <= high:
        raise BadTile(
            f"the radar is not in dB: median {median:.4g}, maximum {highest:.4g}, as in raw numbers; "
            "calibrate it and convert it to dB"
        )


def _check_linear(median: float, negative: float) -> None:
    if negative > FEW:
        raise BadTile(
            f"the radar is not linear power: {negative:.0%} of its values are negative, as in dB; "
            "set data.s1_units=db, in a prediction --s1-units db"
        )
    if median > HIGHEST_POWER:
        raise BadTile(f"the radar is not linear power: median {median:.4g}, as in raw numbers; calibrate it")


def check_optical(counts: np.ndarray) -> None:
    """Checks that optical values are counts.

    Arguments:
        counts: numbers [4, H, W]: b2, b3, b4 and b8.

    Raises:
        BadTile: there is no value, or the values are not reflectance x 10,000.
    """
    known = counts[np.isfinite(counts) & (counts != 0)]
    if not known.size:
        raise BadTile("the optical bands have no valid pixel")
    highest, lowest = float(known.max()), float(known.min())
    if highest <= HIGHEST_REFLECTANCE:
        raise BadTile(
            f"the optical values are not counts: the largest is {highest:.3g}, as in reflectance; "
            "multiply them by 10,000"
        )
    if float((known < LOWEST_COUNT).mean()) > FEW:
        raise BadTile(
            f"the optical values are not counts: {lowest:.4g} is below {LOWEST_COUNT}; give reflectance x 10,000"
        )
    if highest < 100 and not np.array_equal(known, np.rint(known)):
        raise BadTile(
            f"the optical values are not counts: the largest is {highest:.3g}, with fractions; "
            "give reflectance x 10,000"
        )


def check_subtracted(counts: np.ndarray, offset: int) -> None:
    """Checks that counts can carry an offset: hardly any is far below it.

    Arguments:
        counts: numbers [4, H, W], before the offset is subtracted.
        offset: what is to be subtracted.

    Raises:
        BadTile: many reflectances would be clearly negative.
    """
    known = counts[np.isfinite(counts) & (counts != 0)]
    dark = float((known < 0.8 * offset).mean()) if known.size else 0.0
    if offset and dark > FEW:
        raise BadTile(f"the optical counts carry no offset of {offset}: {dark:.0%} are below {0.8 * offset:g}")
