"""The fold of a chain as a few hundred numbers, for a whole batch of chains at once."""

import torch
from torch import Tensor

from partoken.protein.geometry.fold_distances import DISTANCE_NAMES, distance_numbers, known_residues, pair_residues
from partoken.protein.geometry.fold_elements import ELEMENT_NAMES, element_numbers, find_element_axes
from partoken.protein.geometry.graph import featurize

__all__ = ["FOLD_NAMES", "FOLD_VERSION", "FOLD_WIDTH", "fold_geometry"]

FOLD_VERSION = 1
"""Raise it when the same chain gets other numbers: numbers in a cache are then computed again."""

FOLD_NAMES = (*DISTANCE_NAMES, *ELEMENT_NAMES)
"""What each number is."""

FOLD_WIDTH = len(FOLD_NAMES)
"""Numbers F of a chain."""


@torch.no_grad()
def fold_geometry(coords: Tensor, ptr: Tensor) -> Tensor:
    """Computes the fold geometry of a flat batch of chains; rotation and translation of a chain change nothing.

    A residue without N, CA or C is ignored. All numbers are finite for every chain. Their scales differ: standardise
    them before use.

    Arguments:
        coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
        ptr: First residue of each chain, and N, `[B + 1]` int64.

    Returns:
        The numbers of `FOLD_NAMES` for each chain, float32 `[B, FOLD_WIDTH]`.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> fold_geometry(torch.randn(50, 4, 3).cumsum(0), torch.tensor([0, 20, 50])).shape[0]
        2
    """
    graph = featurize(coords.float(), ptr, 0)
    residues = known_residues(coords[:, 1].float(), graph)
    pairs = pair_residues(residues)
    elements = find_element_axes(graph, residues)
    return torch.cat([distance_numbers(residues, pairs), element_numbers(elements, residues, pairs)], dim=1)
