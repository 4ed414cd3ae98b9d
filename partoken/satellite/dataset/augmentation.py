"""Flips, quarter turns and crops of tiles; each depends on the seed, the pass and the name of the tile only."""

import zlib

import numpy as np

from partoken.satellite.tiles.tile import Tile

__all__ = ["augment", "crop_centre", "symmetry"]


def symmetry(pixels: np.ndarray, number: int) -> np.ndarray:
    """Returns one of the eight symmetries of the square.

    Arguments:
        pixels: [..., H, W].
        number: 0 to 7: the number of quarter turns, plus 4 for a flip before them; 0 changes nothing.

    >>> symmetry(np.array([[1, 2], [3, 4]]), 1).tolist()
    [[2, 4], [1, 3]]
    """
    flipped = pixels[..., ::-1] if number >= 4 else pixels
    return np.rot90(flipped, number % 4, axes=(-2, -1))


def augment(tile: Tile, *, seed: int, pass_number: int, crop: int | None = None, turn: bool = True) -> Tile:
    """Returns a training tile: a random square of it, randomly flipped and turned.

    Arguments:
        tile: a tile of at least `crop` pixels in height and width.
        seed: seed of the run.
        pass_number: number of the pass over the training tiles.
        crop: side of the square; None: the whole tile.
        turn: False neither flips nor turns. A tile that is not square is not turned by a single quarter.
    """
    random = np.random.default_rng((seed, pass_number, zlib.crc32(tile.info.id.encode())))
    if crop is not None:
        height, width = tile.info.shape
        top, left = random.integers(height - crop + 1), random.integers(width - crop + 1)
        tile = _cut(tile, int(top), int(left), crop)
    if not turn:
        return tile
    number = int(random.integers(8))
    if tile.info.shape[0] != tile.info.shape[1]:
        number -= number % 2
    return tile.map_pixels(lambda pixels: symmetry(pixels, number))


def crop_centre(tile: Tile, side: int) -> Tile:
    """Returns the square in the centre of a tile of at least `side` pixels in height and width."""
    height, width = tile.info.shape
    return _cut(tile, (height - side) // 2, (width - side) // 2, side)


def _cut(tile: Tile, top: int, left: int, side: int) -> Tile:
    rows, columns = slice(top, top + side), slice(left, left + side)
    return tile.map_pixels(lambda pixels: pixels[:, rows, columns], shape=(side, side))
