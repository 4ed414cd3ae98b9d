"""A small part of a data set has rows of every split."""

import numpy as np

from partoken.training.limit import limit_rows


def test_a_limit_keeps_rows_of_every_split_and_kind():
    splits = np.repeat([0, 1, 2], [70, 15, 15])
    classes = np.array(list("aab") * 34)[:100]
    rows = limit_rows(splits, classes, 20)
    assert len(rows) == 20 and len(set(rows)) == 20
    assert {(splits[r], classes[r]) for r in rows} == {(s, c) for s in range(3) for c in "ab"}


def test_a_limit_keeps_the_sizes_of_the_splits_and_takes_rows_of_all_kinds():
    scenes = [f"scene{number}" for number, size in enumerate((40, 10, 10, 20, 20)) for _ in range(size)]
    splits = np.repeat([0, 1, 2], [60, 20, 20])
    rows = limit_rows(splits, scenes, 10)
    assert np.bincount(splits[rows]).tolist() == [6, 2, 2]
    assert {scenes[row] for row in rows} == set(scenes)
    assert np.bincount(splits[limit_rows(splits, scenes, 1)]).tolist() == [1, 1, 1]
