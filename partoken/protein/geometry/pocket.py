"""Pockets of a chain on a grid: free space with protein on both sides.

References:
    LIGSITE: automatic and efficient detection of potential small molecule-binding sites in proteins (Hendlich,
    Rippmann and Barnickel, J. Mol. Graph. Model. 15, 359, 1997).
"""

import math

import numpy as np

__all__ = ["pocket_scores"]

_SPACING = 1.3
"""Distance of two grid points along an axis, in angstrom."""
_ATOM_RADIUS = 3.5
"""A grid point this close to an atom is inside the protein, in angstrom. It stands for atom and probe together."""
_REACH = 20.0
"""Longest distance from a free point to the protein on either side, in angstrom."""
_DIRECTIONS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1))
"""The axes and the diagonals of a cube. The first number that is not 0 is positive."""
_FEWEST_DIRECTIONS = 2
_NEAR, _SQUARE_WIDTH = 6.0, 18.0
"""A residue counts points up to 6 angstrom away, each with the weight exp(-d^2 / 18)."""


def pocket_scores(atoms: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Scores how much pocket is around some points of a chain.

    A free grid point counts the directions, of seven, in which it has protein on both sides. If there are two or more,
    it adds this count x exp(-d^2 / 18) to each point of the chain at a distance d of up to 6 angstrom.

    The grid is that of the coordinates: its points are the multiples of 1.3 angstrom on the three axes.

    Arguments:
        atoms: Positions of the atoms in angstrom, `[A, 3]`; at least one.
        points: Positions that get a score in angstrom, `[L, 3]`; at least one.

    Returns:
        Scores of 0 or more, `[L]`.
    """
    everything = np.concatenate([atoms, points])
    margin = _cells(_ATOM_RADIUS)
    low = np.rint(everything.min(0) / _SPACING).astype(np.int64) - margin
    high = np.rint(everything.max(0) / _SPACING).astype(np.int64) + margin
    # Free space after each row and layer: a step that leaves the grid lands there, not in the next row.
    space = int(_REACH / _SPACING)
    shape = high - low + 1 + np.array([0, space, space])
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    occupied = np.zeros(int(shape.prod()), dtype=bool)
    places, square = _around(atoms, _ATOM_RADIUS, low, strides)
    occupied[places[square <= _ATOM_RADIUS**2]] = True
    return _sum_near(_count_directions(occupied, strides), points, low, strides)


def _cells(distance: float) -> int:
    """Returns the number of grid steps from the grid point nearest to a position to the farthest within a distance."""
    return int(distance / _SPACING + 0.5)


def _around(positions: np.ndarray, distance: float, low: np.ndarray, strides: np.ndarray) -> tuple[np.ndarray, ...]:
    """Lists the grid points around positions `[M, 3]`: their places in the flat grid and their square distances.

    Returns:
        Both `[M, W, W, W]`: a cube of grid points that contains all within the distance, and others.
    """
    steps = np.arange(-_cells(distance), _cells(distance) + 1, dtype=np.int32)
    nearest = np.rint(positions / _SPACING).astype(np.int32)
    x, y, z = np.moveaxis(nearest[:, None] + steps[:, None], -1, 0)  # each [M, W]
    square = ((np.stack([x, y, z]) * _SPACING - positions.T[:, :, None]) ** 2).astype(np.float32)
    places = [
        ((axis - first) * stride).astype(np.int32) for axis, first, stride in zip((x, y, z), low, strides, strict=True)
    ]
    return _outer_sum(places), _outer_sum(square)


def _outer_sum(parts: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """Adds three arrays `[M, W]` to `[M, W, W, W]`, one along each of the last axes."""
    x, y, z = parts
    return x[:, :, None, None] + (y[:, :, None] + z[:, None, :])[:, None]


def _count_directions(occupied: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Counts for each free point of the flat grid the directions with protein on both sides, uint8; 0 if too few."""
    count = np.zeros(occupied.shape, dtype=np.uint8)
    for direction in _DIRECTIONS:
        shift = int(np.dot(direction, strides))
        steps = int(_REACH / (_SPACING * math.hypot(*direction)))
        count += _reaches(occupied, shift, steps) & _reaches(occupied[::-1], shift, steps)[::-1]
    count[occupied | (count < _FEWEST_DIRECTIONS)] = 0
    return count


def _reaches(occupied: np.ndarray, shift: int, steps: int) -> np.ndarray:
    """Marks the places with an occupied place at 0 to `steps` times the shift behind them.

    Each pass doubles the number of places that are joined, as far as it can.
    """
    found, joined = occupied.copy(), 1
    while joined <= steps:
        more = min(joined, steps + 1 - joined)
        found[: -more * shift] |= found[more * shift :]
        joined += more
    return found


def _sum_near(count: np.ndarray, points: np.ndarray, low: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """Sums the counts of the flat grid around points `[L, 3]`, weighted by distance, `[L]`."""
    places, square = _around(points, _NEAR, low, strides)
    # Places before the first and after the last of the grid hold no pocket.
    near = np.take(count, places, mode="clip") * (square <= _NEAR**2)
    near *= (places >= 0) & (places < len(count))
    weighted = near * np.exp(square * np.float32(-1 / _SQUARE_WIDTH))
    total: np.ndarray = weighted.sum(axis=(1, 2, 3), dtype=np.float64)
    return total
