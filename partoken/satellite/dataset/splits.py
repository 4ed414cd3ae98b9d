"""Deals whole scenes to the training, validation and test splits, and chooses a few tiles."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np

from partoken.errors import UserError, did_you_mean

__all__ = ["SPLITS", "split_scenes"]

SPLITS = ("train", "val", "test")


def split_scenes(
    scenes: Sequence[str],
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    *,
    val_scenes: Sequence[str] | None = None,
    test_scenes: Sequence[str] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Deals scenes to train, val and test; a scene is never divided, so that neighbouring tiles do not leak.

    Named scenes go to their split. The others are dealt from the largest to the smallest, each to the split that lacks
    most tiles and scenes. Scenes count too, because a network learns more from many scenes than from one large one.

    Arguments:
        scenes: scene of each of n tiles.
        fractions: fractions of the tiles for train, val and test, which sum to 1.
        val_scenes: names or patterns of the scenes for validation; None deals them.
        test_scenes: the same for the test.
        seed: seed of the order among scenes of equal size.

    Returns:
        int64 [n]: 0 for train, 1 for val, 2 for test.

    Raises:
        UserError: a name matches no scene, or a scene is named for two splits.

    Example:

    >>> split_scenes(["a"] * 6 + ["b", "c"], (0.6, 0.2, 0.2)).tolist()[:6]
    [0, 0, 0, 0, 0, 0]
    >>> split_scenes(["a1", "a2", "b"], test_scenes=["b"], val_scenes=["a2"]).tolist()
    [0, 1, 2]
    """
    names, scene_of_tile, sizes = np.unique(np.array(scenes, dtype=str), return_inverse=True, return_counts=True)
    split_of_scene = np.full(len(names), -1)
    for split, key, patterns in ((1, "data.val_scenes", val_scenes), (2, "data.test_scenes", test_scenes)):
        if patterns is not None:
            _name_scenes(split_of_scene, names.tolist(), split, key, patterns)
    wanted = np.asarray(fractions, dtype=float).copy()
    for split, patterns in ((1, val_scenes), (2, test_scenes)):
        if patterns is not None:
            wanted[split] = 0  # the user named all of its scenes
    rest = np.flatnonzero(split_of_scene < 0)
    order = np.random.default_rng(seed).permutation(rest)
    order = order[np.argsort(-sizes[order], kind="stable")]
    split_of_scene[order] = _deal(sizes[order], wanted)
    return split_of_scene[scene_of_tile].astype(np.int64)


def _deal(sizes: np.ndarray, wanted: np.ndarray) -> list[int]:
    """Deals scenes, the largest first, so that each split gets its fraction of the tiles and of the scenes.

    No split stays empty if there is a scene for each.
    """
    content = np.stack([sizes, np.ones(len(sizes))], axis=1)
    total = np.maximum(content.sum(0), 1)
    missing = wanted[:, None] / max(wanted.sum(), 1e-12) * total
    empty = set(np.flatnonzero(wanted > 0).tolist())
    dealt = []
    for place, scene in enumerate(content):
        gain = missing @ (scene / total)
        if len(content) - place <= len(empty):
            gain[[split for split in range(len(wanted)) if split not in empty]] = -np.inf
        split = int(np.argmax(gain))
        missing[split] -= scene
        empty.discard(split)
        dealt.append(split)
    return dealt


def _name_scenes(
    split_of_scene: np.ndarray, names: Sequence[str], split: int, key: str, patterns: Sequence[str]
) -> None:
    for pattern in patterns:
        found = [i for i, name in enumerate(names) if fnmatchcase(name, pattern)]
        if not found:
            raise UserError(
                f"{key}: no scene is called {pattern}; there are {_shown(names)}.{did_you_mean(pattern, names)}"
            )
        for i in found:
            if split_of_scene[i] not in (-1, split):
                raise UserError(f"{key}: {pattern} names the scene {names[i]}, which data.val_scenes names too")
            split_of_scene[i] = split


def _shown(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
