"""Checks that backbone coordinates are physically plausible."""

import numpy as np

from partoken.protein.chains.backbone import ATOMS

__all__ = ["MIN_LENGTH", "READER_VERSION", "UnusableChain", "validate"]

READER_VERSION = 2
"""Raise it when a source reads its files differently: caches of another version are then read again."""

MIN_LENGTH = 10
"""Default of `data.min_length`: residues with N, CA and C that a chain must have."""

MAX_COORDINATE = 9_990.0
"""Angstrom; a PDB file cannot write larger numbers, and 9999.000 means an unknown position."""

DISTANCES = {
    ("N", "CA"): (0.9, 2.2),
    ("CA", "C"): (0.9, 2.3),
    ("C", "O"): (0.6, 2.0),
    ("N", "C"): (1.3, 3.4),
    ("CA", "O"): (1.6, 3.3),
}
"""Allowed distances within a residue in angstrom: a little wider than the range over all 488,000 residues of 2,183
deposited chains."""

_FIRST, _SECOND = ([ATOMS.index(pair[place]) for pair in DISTANCES] for place in range(2))
_LIMITS = np.array(list(DISTANCES.values())).T[:, :, None]

MIN_CA_DISTANCE = 2.0
"""Angstrom between the CA atoms of neighbouring residues; it is 2.9 across a cis peptide."""

MAX_IMPOSSIBLE = 0.2
"""Largest fraction of residues with impossible geometry in a chain that is still used."""


class UnusableChain(ValueError):
    """A chain cannot be used; the message says why."""


def validate(
    coords: np.ndarray, *, min_length: int = MIN_LENGTH, max_length: int | None = None
) -> tuple[np.ndarray, int]:
    """Removes the residues of a chain that have impossible distances between their atoms.

    Arguments:
        coords: float [L, 4, 3]: N, CA, C, O in angstrom. An atom with a coordinate that is not finite or beyond
            `MAX_COORDINATE` counts as missing.
        min_length: number of residues with N, CA and C that the chain must have.
        max_length: largest number of residues; None: no limit.

    Returns:
        Coordinates, float32 [L, 4, 3], with NaN for missing atoms and for all atoms of removed residues; and the number
        of removed residues.

    Raises:
        UnusableChain: the chain is too short or too long, or too many residues are impossible.
    """
    is_known = np.abs(coords) <= MAX_COORDINATE
    missing = ~(is_known[..., 0] & is_known[..., 1] & is_known[..., 2])  # faster than `all` over a short axis
    points = np.where(missing[..., None], np.nan, coords) if missing.any() else coords
    complete = ~(missing[:, 0] | missing[:, 1] | missing[:, 2])
    _check_length(missing, complete, min_length, max_length)
    impossible = _impossible(points)
    count = int(np.count_nonzero(impossible))
    if count > MAX_IMPOSSIBLE * len(points) or np.count_nonzero(complete & ~impossible) < min_length:
        raise UnusableChain(f"impossible geometry: {count} of {len(points)} residues have atoms too near or too far")
    kept = points.astype(np.float32)
    if count:
        kept[impossible] = np.nan
    return kept, count


def _check_length(missing: np.ndarray, complete: np.ndarray, min_length: int, max_length: int | None) -> None:
    """Raises `UnusableChain` for a wrong length; `missing` is bool [L, 4], `complete` bool [L]."""
    num_complete, length = int(complete.sum()), len(complete)
    if num_complete < min_length:
        has_only_ca = num_complete == 0 and (~missing[:, 1]).sum() >= min_length
        raise UnusableChain(
            f"{'only CA atoms' if has_only_ca else 'too short'}: {num_complete} of {length} residues "
            f"have N, CA and C, data.min_length={min_length} are needed"
        )
    if max_length is not None and length > max_length:
        raise UnusableChain(f"too long: {length} residues, data.max_length={max_length} are allowed")


def _impossible(points: np.ndarray) -> np.ndarray:
    """Returns which residues of [L, 4, 3] have impossible distances, bool [L]."""
    planes = np.ascontiguousarray(points.transpose(1, 2, 0))
    difference = planes[_FIRST] - planes[_SECOND]
    distance = np.sqrt((difference * difference).sum(1))
    shortest, longest = _LIMITS.astype(points.dtype)
    impossible = ((distance < shortest) | (distance > longest)).any(0)
    step = planes[1, :, 1:] - planes[1, :, :-1]
    impossible[1:] |= np.sqrt((step * step).sum(0)) < MIN_CA_DISTANCE
    return impossible
