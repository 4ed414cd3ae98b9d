"""Whether substructures of a token have the same shape: their residues, superposed piece by piece."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from partoken.protein.geometry.superposition import rmsd

__all__ = ["ALIGNED", "PAIRS", "WINDOW", "Recurrence", "Trace", "recurrences"]

WINDOW = 8
"""Residues of a piece."""
ALIGNED = 1.5
"""Largest deviation of two pieces that count as aligned, in angstrom."""
PAIRS = 30
"""Largest number of pairs of substructures that are tried for a token."""


class Trace(NamedTuple):
    """The CA atoms of a substructure."""

    chain: int
    """Number of its chain."""
    points: np.ndarray
    """Positions in the order of the chain, in angstrom, `[n, 3]`."""


class Recurrence(NamedTuple):
    """How often the shape of a token's substructures recurs in other chains."""

    aligned: int
    """Pairs with pieces that deviate by at most `ALIGNED`."""
    tried: int
    """Pairs of substructures of the token, in different chains."""
    rmsd_median: float | None
    """Median over the pairs of the smallest deviation, in angstrom; None: no pair was tried."""
    by_chance: float | None
    """Fraction that is aligned among pairs of a substructure of the token and one of another token; None: no pair was
    tried."""


def recurrences(traces: Mapping[int, Sequence[Trace]], seed: int = 0) -> dict[int, Recurrence]:
    """Superposes pairs of substructures of the same token, and as a control those of different tokens.

    A piece is `WINDOW` residues of a substructure that follow each other in it, not always along the chain. A pair
    has the deviation of its two most similar pieces. Long helices align with each other whatever their token is, so
    `aligned` means little without `by_chance`. Substructures of fewer residues than a piece are not tried.

    Arguments:
        traces: The substructures of each token.
        seed: Seed of the draw of pairs.
    """
    rng = np.random.default_rng(seed)
    long = {token: [_whole(one) for one in of_token] for token, of_token in traces.items()}
    long = {token: [one for one in of_token if len(one.points) >= WINDOW] for token, of_token in long.items()}
    everything = [(token, one) for token, of_token in long.items() for one in of_token]
    found = {}
    for token, own in long.items():
        others = [one for other, one in everything if other != token]
        same = _deviations(_draw(own, own, rng))
        different = _deviations(_draw(own, others, rng))
        found[token] = Recurrence(
            aligned=int((same <= ALIGNED).sum()),
            tried=len(same),
            rmsd_median=float(np.median(same)) if len(same) else None,
            by_chance=float((different <= ALIGNED).mean()) if len(different) else None,
        )
    return found


def _whole(trace: Trace) -> Trace:
    """Leaves out residues without a position."""
    return trace._replace(points=trace.points[np.isfinite(trace.points).all(1)])


def _draw(ones: Sequence[Trace], others: Sequence[Trace], rng: np.random.Generator) -> list[tuple[Trace, Trace]]:
    """Draws up to `PAIRS` different pairs from different chains."""
    if not ones or not others:
        return []
    pairs: dict[tuple[int, int], tuple[Trace, Trace]] = {}
    for _ in range(4 * PAIRS):  # some are drawn twice, some are of one chain
        i, j = int(rng.integers(len(ones))), int(rng.integers(len(others)))
        key = (min(i, j), max(i, j)) if ones is others else (i, j)
        if ones[i].chain != others[j].chain and len(pairs) < PAIRS:
            pairs.setdefault(key, (ones[i], others[j]))
    return list(pairs.values())


def _deviations(pairs: Sequence[tuple[Trace, Trace]]) -> np.ndarray:
    """Computes the smallest deviation of any two pieces of each pair, `[pairs]`."""
    return np.array([rmsd(_pieces(one)[:, None], _pieces(two)[None]).min() for one, two in pairs])


def _pieces(trace: Trace) -> np.ndarray:
    """Returns all pieces of a substructure, `[pieces, WINDOW, 3]`."""
    pieces: np.ndarray = np.lib.stride_tricks.sliding_window_view(trace.points, WINDOW, axis=0)
    return pieces.swapaxes(1, 2)
