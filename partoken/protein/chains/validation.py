"""Whether coordinates can be those of a protein backbone."""

import numpy as np

from partoken.protein.chains.backbone import ATOMS

__all__ = ["MIN_LENGTH", "READER_VERSION", "UnusableChain", "validate"]

READER_VERSION = 1
"""Raised with every change of what any source reads; caches of another version are not used."""

MIN_LENGTH = 10
"""Complete residues that a chain must have at least, unless the user says otherwise."""

FARTHEST = 9_990.0
"""Angstrom from the origin; what a PDB file can write ends there, and 9999.000 stands for unknown."""

DISTANCES = {("N", "CA"): (0.9, 2.2), ("CA", "C"): (0.9, 2.3), ("C", "O"): (0.6, 2.0)}
DISTANCES |= {("N", "C"): (1.3, 3.4), ("CA", "O"): (1.6, 3.3)}
"""Angstrom; a little wider than in all of 488,000 residues of 2,183 deposited chains."""

CLOSEST_CA = 2.0
"""Angstrom between the CA of neighbours; a cis peptide brings them to 2.9."""

MOST_IMPOSSIBLE = 0.2
"""A chain with a larger share of impossible residues is refused."""


class UnusableChain(ValueError):
    """Says why a chain cannot be used."""


def validate(
    coords: np.ndarray, *, min_length: int = MIN_LENGTH, max_length: int | None = None
) -> tuple[np.ndarray, int]:
    """Returns coordinates in which every residue that has impossible distances is missing as a whole.

    Arguments:
        coords: [L, 4, 3]: N, CA, C, O in angstrom; an atom that is not finite or farther than any file can say is
            missing.
        min_length: residues that must have N, CA and C.
        max_length: residues that the chain may have; None for any number.

    Returns:
        float32 [L, 4, 3], NaN where missing, and the number of impossible residues.

    Raises:
        UnusableChain: too short, too long, or too many impossible residues.
    """
    outside = (~np.isfinite(coords) | (np.abs(coords) > FARTHEST)).any(-1)
    points = np.where(outside[..., None], np.nan, coords)
    present = ~outside[:, :3].any(1)
    if present.sum() < min_length:
        kind = "only CA atoms" if not present.any() and (~outside[:, 1]).sum() >= min_length else "too short"
        found = f"{present.sum()} of {len(coords)} residues have N, CA and C"
        raise UnusableChain(f"{kind}: {found}, at least data.min_length={min_length} must")
    if max_length is not None and len(coords) > max_length:
        raise UnusableChain(f"too long: {len(coords)} residues, at most data.max_length={max_length} may be")
    impossible = np.zeros(len(points), dtype=bool)
    for (one, two), (least, most) in DISTANCES.items():
        distance = np.linalg.norm(points[:, ATOMS.index(one)] - points[:, ATOMS.index(two)], axis=-1)
        impossible |= (distance < least) | (distance > most)
    impossible[1:] |= np.linalg.norm(np.diff(points[:, 1], axis=0), axis=-1) < CLOSEST_CA
    count = int(impossible.sum())
    if count > MOST_IMPOSSIBLE * len(points) or (present & ~impossible).sum() < min_length:
        raise UnusableChain(f"impossible geometry: {count} of {len(points)} residues have atoms too near or too far")
    return np.where(impossible[:, None, None], np.nan, points).astype(np.float32), count
