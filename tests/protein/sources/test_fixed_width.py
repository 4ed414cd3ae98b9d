"""Numbers in columns of fixed width, against Python's own reading of each."""

import re

import numpy as np
import pytest

from partoken.protein.sources.fixed_width import decimals, integers


def columns(texts: list[str]) -> np.ndarray:
    return np.frombuffer("".join(texts).encode(), dtype=np.uint8).reshape(len(texts), -1).T


def test_decimals_are_those_that_python_reads():
    chance = np.random.default_rng(0)
    numbers = chance.normal(size=2000) * 10.0 ** chance.integers(-2, 4, 2000)
    texts = [f"{number:8.{places}f}"[:8] for number, places in zip(numbers, chance.integers(1, 5, 2000), strict=True)]
    assert decimals(columns(texts)).tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("width", [1, 3, 8, 13, 16])
def test_numbers_of_all_forms_beside_each_other_are_those_that_python_reads(width):
    chance = np.random.default_rng(width)
    texts = ["".join(chance.choice(list("0123456789" * 2 + " .-"), width)) for _ in range(2000)]
    texts += [text.lstrip(" -.").rjust(width) for text in texts]
    is_number = [re.fullmatch(r" *-?(\d+\.?\d*|\.\d+)", text) is not None for text in texts]
    assert 0 < sum(is_number) < len(texts)
    values = decimals(columns(texts))
    assert values[is_number].tolist() == [float(text) for text, one in zip(texts, is_number, strict=True) if one]
    for text in np.array(texts)[np.isnan(values)]:
        with pytest.raises(ValueError):
            float(text)


@pytest.mark.parametrize(
    "text, value",
    [
        ("-999.999", -999.999), ("    .500", 0.5), ("   -.500", -0.5), ("      7.", 7.0), ("      12", 12.0),
        ("1.25    ", 1.25), ("  +1.250", 1.25), (" 1.5e+02", 150.0),
    ],
)  # fmt: skip
def test_unusual_forms_of_a_number_are_read(text, value):
    assert decimals(columns([text, "   1.000"])).tolist() == [value, 1.0]


@pytest.mark.parametrize(
    "text", ["********", "     nan", "1.0  2.0", "  1-2.00", "  1_0.00", "   1.2.3", "       -", "       ."]
)
def test_text_that_is_no_number_is_nan(text):
    assert np.isnan(decimals(columns([text]))).all()


def test_empty_text_has_the_given_value():
    assert decimals(columns(["      ", "  0.50"]), blank=1.0).tolist() == [1.0, 0.5]


def test_integers_continue_in_hybrid_36():
    values, is_number = integers(columns(["   1", "-999", "9999", "A000", "A001", "AZZZ", "ZZZZ", "a000", "7   "]))
    assert is_number.all()
    assert values.tolist() == [1, -999, 9999, 10000, 10001, 56655, 1223055, 1223056, 7]


@pytest.mark.parametrize("text", ["    ", "1.00", "12 3", "A-12", " A00"])
def test_text_that_is_no_integer_is_told(text):
    values, is_number = integers(columns([text, "   5"]))
    assert is_number.tolist() == [False, True] and values.tolist() == [0, 5]
