"""Splits by scene, and the limit on the number of tiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partoken.errors import UserError
from partoken.satellite.dataset.splits import split_scenes


def scenes_of(*sizes):
    return [f"scene{s}" for s, size in enumerate(sizes) for _ in range(size)]


SCENES = st.lists(st.integers(1, 30), min_size=1, max_size=20).map(lambda sizes: scenes_of(*sizes))


@given(SCENES, st.integers(0, 3))
def test_a_scene_is_never_divided_and_no_split_is_empty_if_there_is_a_scene_for_each(scenes, seed):
    splits = split_scenes(scenes, seed=seed)
    pairs = {(scene, int(split)) for scene, split in zip(scenes, splits, strict=True)}
    assert len(pairs) == len(set(scenes)), "one split per scene"
    assert len(set(splits.tolist())) == min(3, len(set(scenes)))


def test_splits_have_the_given_fractions_of_tiles_and_scenes():
    sizes = np.random.default_rng(0).integers(1, 9, 200)
    splits = split_scenes(scenes_of(*sizes), (0.6, 0.2, 0.2))
    np.testing.assert_allclose(np.bincount(splits) / sizes.sum(), (0.6, 0.2, 0.2), atol=0.05)
    of_scene = splits[np.cumsum(sizes) - 1]
    np.testing.assert_allclose(np.bincount(of_scene) / 200, (0.6, 0.2, 0.2), atol=0.05)


def test_one_large_scene_leaves_enough_scenes_for_training():
    splits = split_scenes(scenes_of(60, *[1] * 20))
    assert np.bincount(splits[60:])[0] >= 5


def test_the_order_of_the_tiles_does_not_matter_and_the_seed_does():
    scenes = scenes_of(*[2] * 30)
    order = np.random.default_rng(0).permutation(len(scenes))
    one, two, other = split_scenes(scenes), split_scenes([scenes[i] for i in order]), split_scenes(scenes, seed=1)
    assert one[order].tolist() == two.tolist() != other[order].tolist()


def test_named_scenes_go_to_their_split_and_the_rest_is_dealt():
    scenes = scenes_of(10, 10, 5, 5, 3, 3)
    splits = split_scenes(scenes, test_scenes=["scene[01]"])
    assert set(splits[:20]) == {2} and set(splits[20:]) == {0, 1}
    splits = split_scenes(scenes, test_scenes=["scene1"], val_scenes=["scene4", "scene5"])
    assert np.unique(splits[:10]).tolist() == [0] and set(splits[-6:]) == {1} and set(splits[20:30]) == {0}


def test_a_fraction_of_zero_gets_no_scene():
    assert set(split_scenes(scenes_of(*[3] * 10), (0.8, 0.2, 0.0))) == {0, 1}


@pytest.mark.parametrize(
    "named, message",
    [
        (
            {"test_scenes": ["scene9"]},
            "no scene is called scene9; there are scene0, scene1.* Did you mean",
        ),
        ({"val_scenes": ["scene0"], "test_scenes": ["scene*"]}, r"data.test_scenes: scene\* names the scene scene0"),
    ],
    ids=["unknown", "twice"],
)
def test_a_wrong_name_of_a_scene_is_an_error(named, message):
    with pytest.raises(UserError, match=message):
        split_scenes(scenes_of(1, 1, 1), **named)
