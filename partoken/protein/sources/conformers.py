"""Chooses one conformer of each residue."""

import numpy as np

from partoken.protein.chains.backbone import ATOMS

__all__ = ["choose_conformers"]


def choose_conformers(
    site: np.ndarray,
    slot: np.ndarray,
    residue: np.ndarray,
    altloc: np.ndarray,
    occupancy: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses one atom for each residue and slot, all from one conformer of the residue: that with the most occupancy.

    Arguments:
        site: residue of each of n atoms, int [n].
        slot: place of each atom among `ATOMS`, int [n].
        residue: residue name of each atom, int [n].
        altloc: conformer of each atom, int [n]; 0 for none.
        occupancy: float [n].

    Returns:
        Positions of the chosen atoms, int; and of an atom of each residue that has several conformers, int.
    """
    occupancy = np.nan_to_num(occupancy, nan=0.0)
    named = _best(site, residue, occupancy, np.ones(len(site), dtype=bool))
    in_residue = residue == named[site]
    conformer = _best(site, altloc, occupancy, in_residue & (altloc != 0))
    in_conformer = (altloc == 0) | (altloc == conformer[site])
    key = site * len(ATOMS) + slot
    ranked = np.lexsort((np.arange(len(site)), -occupancy, ~in_conformer, key))
    ranked = ranked[in_residue[ranked]]
    chosen = ranked[np.unique(key[ranked], return_index=True)[1]]
    several = (~in_residue | (altloc != 0)).nonzero()[0]
    return chosen, several[np.unique(site[several], return_index=True)[1]]


def _best(site: np.ndarray, code: np.ndarray, occupancy: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Returns the code with the highest summed occupancy of each residue, int [residues].

    The first of equally occupied codes wins; a residue without an allowed atom gets -1.
    """
    best = np.full(int(site.max()) + 1, -1, dtype=np.int64)
    if not allowed.any():
        return best
    pairs, first, group = np.unique(
        np.stack([site[allowed], code[allowed]], 1), axis=0, return_index=True, return_inverse=True
    )
    weight = np.bincount(group.ravel(), occupancy[allowed]).round(4)
    ranked = np.lexsort((first, -weight, pairs[:, 0]))
    sites, first_rank = np.unique(pairs[ranked, 0], return_index=True)
    best[sites] = pairs[ranked, 1][first_rank]
    return best
