"""The options of `data` that every source of tiles has: splits, limits, crops, augmentation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from partoken.errors import UserError, check_choice, check_number
from partoken.system.annotations import check_annotations

__all__ = ["SPLIT_KINDS", "TileOptions"]

SPLIT_KINDS = ("given", "scene")


@dataclass(frozen=True)
class TileOptions:
    """How tiles become splits and batches.

    Raises:
        UserError: a value is out of range or has the wrong type.
    """

    split: str | None = None
    """"given": the tiles' own splits; "scene": tiles of one scene stay in one split. None: the tiles' own splits if any
    tile has one, otherwise by scene."""
    fractions: Sequence[float] = (0.7, 0.15, 0.15)
    """Fractions of the tiles for train, val and test, which sum to 1; unused with the tiles' own splits."""
    val_scenes: Sequence[str] | None = None
    """Names or patterns (`s1f11_*`) of the scenes for validation, with splits by scene. None: by `fractions`."""
    test_scenes: Sequence[str] | None = None
    """The same for the test."""
    crop: int | None = None
    """Side in pixels of the square that is cut out of each tile: at a random place in training, from the centre in
    evaluation. None: whole tiles, which must then have one size."""
    augment: bool = True
    """Flips and turns training tiles by quarters, each time at random."""
    passes_per_epoch: int = 1
    """Passes over the training tiles in an epoch, each with other flips, turns and crops."""
    stage1_dir: str | None = None
    """Run folder of stage 1, for stage 2, or its `best.ckpt`. If the folder has stored outputs for the tiles
    (`outputs/ID.npz`), stage 2 reads them and does not compute them. None: `model.stage1_checkpoint` decides."""
    limit: int | None = None
    """Approximate number of tiles to use, spread over all splits and scenes. None: all."""
    max_skipped: float = 0.1
    """Largest fraction of tiles, 0 to 1, that may be unusable; above it the run stops."""

    def __post_init__(self) -> None:
        check_choice("data.split", self.split, SPLIT_KINDS, optional=True)
        _check_fractions(self.fractions)
        for key in ("val_scenes", "test_scenes"):
            _check_patterns(f"data.{key}", getattr(self, key))
            if getattr(self, key) and self.split == "given":
                raise UserError(f"data.{key} needs splits by scene: set data.split=scene, or leave it out")
        check_number("data.crop", self.crop, minimum=16, whole=True, optional=True)
        check_number("data.passes_per_epoch", self.passes_per_epoch, minimum=1, whole=True)
        check_number("data.limit", self.limit, minimum=1, whole=True, optional=True)
        check_number("data.max_skipped", self.max_skipped, minimum=0, maximum=1)
        check_annotations(TileOptions, vars(self), "data")

    @property
    def names_scenes(self) -> bool:
        """True if the user names scenes for a split, so that splits are by scene."""
        return bool(self.val_scenes or self.test_scenes)


def _check_fractions(fractions: Any) -> None:
    is_list = isinstance(fractions, Sequence) and not isinstance(fractions, str)
    is_valid = (
        is_list
        and len(fractions) == 3
        and all(isinstance(f, int | float) and not isinstance(f, bool) and f >= 0 for f in fractions)
        and math.isclose(sum(fractions), 1, abs_tol=1e-6)
    )
    if not is_valid:
        shown = list(fractions) if is_list else fractions
        raise UserError(
            f"data.fractions={shown}: must be three numbers of at least 0 for train, val and test that sum to 1"
        )


def _check_patterns(key: str, patterns: Any) -> None:
    if patterns is None:
        return
    is_list = isinstance(patterns, Sequence) and not isinstance(patterns, str)
    if not is_list or not all(isinstance(p, str) and p for p in patterns):
        raise UserError(f"{key}={patterns}: must be a list of names or patterns such as [s1f11_*], or null")
