"""Splits by group, and the limit on the number of chains."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from partoken.protein.dataset.splits import split_groups


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3)), min_size=1, max_size=80), st.integers(0, 3))
def test_a_group_is_never_divided(members, seed):
    groups, classes = zip(*members, strict=True)
    splits = split_groups(groups, classes, seed=seed)
    assert set(splits) <= {0, 1, 2}
    assert all(len({s for s, g in zip(splits, groups, strict=True) if g == group}) == 1 for group in set(groups))


def test_every_class_is_dealt_in_the_given_fractions():
    random = np.random.default_rng(0)
    groups = random.integers(0, 300, 1000)
    classes = random.choice(["common", "rare"], 1000, p=[0.9, 0.1])
    splits = split_groups(groups, classes, (0.6, 0.2, 0.2))
    for name in ("common", "rare"):
        fractions = np.bincount(splits[classes == name], minlength=3) / (classes == name).sum()
        np.testing.assert_allclose(fractions, (0.6, 0.2, 0.2), atol=0.03)


def test_a_class_with_few_chains_has_them_in_training_first():
    def dealt(count: int) -> list[int]:
        return np.bincount(split_groups(range(count), ["x"] * count), minlength=3).tolist()

    assert [dealt(n) for n in (1, 3, 5, 20)] == [[1, 0, 0], [2, 1, 0], [3, 1, 1], [14, 3, 3]]


def test_many_small_classes_together_fill_every_split():
    assert np.bincount(split_groups(range(12), list("abc") * 4), minlength=3).min() >= 1


def test_the_split_depends_on_the_seed_and_is_reproducible():
    one, two, again = (split_groups(range(50), ["x"] * 50, seed=s).tolist() for s in (0, 1, 0))
    assert one == again != two
