"""Numbering codes of which many in a row are equal, against NumPy's sorting of all of them."""

import numpy as np
import pytest

from partoken.protein.sources.atoms import FEW, number_runs, run_starts


@pytest.mark.parametrize("distinct", [1, 2, FEW, 5 * FEW], ids="one two few many".split())
@pytest.mark.parametrize("length", [0, 1, 7, 3000])
def test_codes_are_numbered_in_ascending_order(distinct, length):
    codes = np.repeat(np.random.default_rng(length).integers(0, distinct, length), 2).astype(np.uint64)
    numbers, names = number_runs(codes)
    expected, inverse = np.unique(codes, return_inverse=True)
    assert names.tolist() == expected.tolist()
    assert numbers.tolist() == inverse.tolist()


def test_a_code_that_comes_late_is_numbered_like_the_others():
    codes = np.array([5, 6] * FEW + [4, 9, 5])
    numbers, names = number_runs(codes)
    assert names.tolist() == [4, 5, 6, 9]
    assert names[numbers].tolist() == codes.tolist()


def test_a_run_starts_where_the_code_differs_from_the_one_before():
    assert run_starts(np.array([3, 3, 1, 3])).tolist() == [0, 2, 3]
    assert run_starts(np.array([], dtype=int)).tolist() == []
