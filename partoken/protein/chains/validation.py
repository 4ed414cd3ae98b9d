"""Checks that backbone coordinates are physically plausible."""

from dataclasses import dataclass

import numpy as np

from partoken.protein.chains.backbone import ATOMS

__all__ = ["MIN_LENGTH", "READER_VERSION", "Flaws", "UnusableChain", "find_flaws", "validate"]

READER_VERSION = 3
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


@dataclass(frozen=True)
class Flaws:
    """What is wrong with L residues."""

    missing: np.ndarray
    """bool [L, 4]: the atom has no position."""
    impossible: np.ndarray
    """bool [L]: the atoms of the residue are too near or too far."""

    def __getitem__(self, residues: slice) -> "Flaws":
        return Flaws(self.missing[residues], self.impossible[residues])


def find_flaws(coords: np.ndarray, first: np.ndarray | None = None) -> Flaws:
    """Finds missing atoms, and residues with impossible distances between their atoms or to the residue before.

    Arguments:
        coords: float [L, 4, 3]: N, CA, C, O in angstrom. An atom with a coordinate that is not finite or beyond
            `MAX_COORDINATE` counts as missing.
        first: positions of the residues at which a chain begins, if there are several chains, int.
    """
    is_known = np.abs(coords) <= MAX_COORDINATE
    missing = ~(is_known[..., 0] & is_known[..., 1] & is_known[..., 2])  # faster than `all` over a short axis
    points = np.where(missing[..., None], np.nan, coords) if missing.any() else coords
    planes = np.ascontiguousarray(points.transpose(1, 2, 0))
    difference = planes[_FIRST] - planes[_SECOND]
    distance = np.sqrt((difference * difference).sum(1))
    shortest, longest = _LIMITS.astype(points.dtype)
    impossible = ((distance < shortest) | (distance > longest)).any(0)
    step = planes[1, :, 1:] - planes[1, :, :-1]
    is_near = np.sqrt((step * step).sum(0)) < MIN_CA_DISTANCE
    if first is not None:
        is_near[first[1:] - 1] = False
    impossible[1:] |= is_near
    return Flaws(missing, impossible)


def validate(
    coords: np.ndarray, *, min_length: int = MIN_LENGTH, max_length: int | None = None, flaws: Flaws | None = None
) -> tuple[np.ndarray, int]:
    """Removes the residues of a chain that have impossible distances between their atoms.

    Arguments:
        coords: float [L, 4, 3], see `find_flaws`.
        min_length: number of residues with N, CA and C that the chain must have.
        max_length: largest number of residues; None: no limit.
        flaws: those of the chain, where they are known.

    Returns:
        Coordinates, float32 [L, 4, 3], with NaN for missing atoms and for all atoms of removed residues; and the number
        of removed residues.

    Raises:
        UnusableChain: the chain is too short or too long, or too many residues are impossible.
    """
    flaws = flaws or find_flaws(coords)
    missing, impossible = flaws.missing, flaws.impossible
    complete = ~(missing[:, 0] | missing[:, 1] | missing[:, 2])
    _check_length(missing, complete, min_length, max_length)
    count = int(np.count_nonzero(impossible))
    if count > MAX_IMPOSSIBLE * len(coords) or np.count_nonzero(complete & ~impossible) < min_length:
        raise UnusableChain(f"impossible geometry: {count} of {len(coords)} residues have atoms too near or too far")
    kept = (np.where(missing[..., None], np.nan, coords) if missing.any() else coords).astype(np.float32)
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
