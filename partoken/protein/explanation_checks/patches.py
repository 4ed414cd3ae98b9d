"""Random substructures: patches that are as large and as compact as those of a network."""

from collections.abc import Sequence

import numpy as np

from partoken.protein.chains.backbone import Backbone

__all__ = ["random_patches"]


def random_patches(chain: Backbone, sizes: Sequence[int], random: np.random.Generator) -> list[list[int]]:
    """Draws substructures without regard to the network: a random residue and those nearest to it in space.

    They do not overlap, and have no residue without N, CA or C. A later patch takes the nearest of the residues that
    are left.

    Arguments:
        chain: The chain.
        sizes: Number of residues of each patch; the last patches are smaller or missing if too few residues are left.
        random: Decides the centres.
    """
    ca = chain.coords[:, 1]
    is_free = np.isfinite(chain.coords[:, :3]).all((1, 2))
    patches = []
    for size in sizes:
        free = np.flatnonzero(is_free)
        if not len(free):
            break
        distance = np.linalg.norm(ca[free] - ca[random.choice(free)], axis=1)
        patch = free[np.argsort(distance, kind="stable")[:size]]
        is_free[patch] = False
        patches.append(sorted(patch.tolist()))
    return patches
