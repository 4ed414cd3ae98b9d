"""Made tiles for the tests: plausible radar and optical bands of any size, and their files."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from partoken.satellite.tiles.tile import OPTICAL_BANDS, RADAR_BANDS


def made_bands(seed: int = 0, size: int | tuple[int, int] = 16) -> dict[str, np.ndarray]:
    """Returns the six arrays of a tile: radar in dB, float32; optical counts, uint16."""
    random = np.random.default_rng(seed)
    shape = (size, size) if isinstance(size, int) else size
    bands: dict[str, np.ndarray] = {
        band: random.normal(level, 3, shape).astype(np.float32)
        for band, level in zip(RADAR_BANDS, (-11, -17), strict=True)
    }
    for band, level in zip(OPTICAL_BANDS, (400, 700, 500, 3000), strict=True):
        bands[band] = random.integers(level // 2, 2 * level, shape, dtype=np.uint16)
    return bands


def write_tile(
    path: Path, bands: dict[str, Any] | None = None, facts: dict[str, Any] | None = None, **more: Any
) -> Path:
    """Writes a tile; `facts` go into a JSON file beside it, `more` into the NPZ file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{**(made_bands() if bands is None else bands), **more})
    if facts is not None:
        path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def write_scenes(root: Path, **sizes: int) -> Path:
    """Writes tiles `SCENE_ROW_COLUMN.npz`: for each scene the given number."""
    for s, (scene, count) in enumerate(sizes.items()):
        for i in range(count):
            write_tile(root / f"{scene}_{i}_{s}.npz", made_bands(seed=100 * s + i))
    return root
