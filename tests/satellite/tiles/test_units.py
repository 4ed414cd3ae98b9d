"""Units that can be told from the values: dB, linear power and raw radar; counts and reflectance."""

import numpy as np
import pytest

from partoken.satellite.tiles.tile import BadTile
from partoken.satellite.tiles.units import check_optical, check_subtracted, to_decibel

RANDOM = np.random.default_rng(0)
DECIBEL = RANDOM.normal([[[-11.0]], [[-17.0]]], 3, (2, 20, 20))
POWER = 10 ** (DECIBEL / 10)
COUNTS = RANDOM.integers(50, 4000, (4, 20, 20)).astype(float)


def test_decibel_is_taken_as_it_is_and_power_is_converted():
    assert to_decibel(DECIBEL, "db") is DECIBEL
    np.testing.assert_allclose(to_decibel(POWER, "linear"), DECIBEL, rtol=1e-12)


def test_power_that_is_not_positive_is_missing():
    power = POWER.copy()
    power[0, 0, :2] = 0, -1e-9
    assert np.isnan(to_decibel(power, "linear")[0, 0, :2]).all()


@pytest.mark.parametrize(
    "values, units, message",
    [
        (POWER, "db", "not in dB: hardly any value is negative .* set data.s1_units=linear"),
        (POWER * 50_000, "db", "not in dB: median .* as in raw numbers"),
        (DECIBEL * 100, "db", "not in dB: median -1[0-9]{3}"),
        (DECIBEL, "linear", "not linear power: 100% of its values are negative, as in dB; set data.s1_units=db"),
        (POWER * 50_000, "linear", "not linear power: median .* as in raw numbers"),
        (DECIBEL * np.nan, "db", "no valid pixel"),
        (DECIBEL * 0, "db", "no valid pixel"),
    ],
    ids=["power", "raw", "hundredths", "decibel as power", "raw as power", "NaN", "zero"],
)
def test_radar_in_other_units_is_refused_with_the_reason(values, units, message):
    with pytest.raises(BadTile, match=message):
        to_decibel(values, units)


@pytest.mark.parametrize("level", [-30, 0], ids=["water", "city"])
def test_calm_water_and_a_city_are_plausible_radar(level):
    radar = RANDOM.normal(level, 3, (2, 20, 20))
    np.testing.assert_array_equal(to_decibel(radar, "db"), radar)


@pytest.mark.parametrize(
    "counts",
    [COUNTS, np.full((4, 20, 20), 84.0), COUNTS - 900, COUNTS * 5, np.where(COUNTS < 1000, np.nan, COUNTS)],
    ids=["land", "water", "offset removed", "snow", "missing pixels"],
)
def test_counts_of_all_surfaces_are_accepted(counts):
    check_optical(counts)


@pytest.mark.parametrize(
    "counts, message",
    [
        (COUNTS / 10_000, "the largest is 0.4, as in reflectance; multiply them by 10,000"),
        ((COUNTS - COUNTS.mean()) / COUNTS.std() * 3, "with fractions; give reflectance x 10,000"),
        (COUNTS - 3000, "below -1000"),
        (COUNTS * np.nan, "no valid pixel"),
        (COUNTS * 0, "no valid pixel"),
    ],
    ids=["reflectance", "standardised", "negative", "NaN", "zero"],
)
def test_optical_values_that_are_not_counts_are_refused_with_the_reason(counts, message):
    with pytest.raises(BadTile, match=message):
        check_optical(counts)


def test_an_offset_that_the_counts_cannot_carry_is_refused():
    check_subtracted(COUNTS + 1000, 1000)
    check_subtracted(COUNTS, 0)
    with pytest.raises(BadTile, match=r"carry no offset of 1000: .*% are below 800"):
        check_subtracted(COUNTS, 1000)
