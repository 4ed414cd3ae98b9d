"""The fold of a chain as a few hundred numbers, for a whole batch of chains at once."""

import torch
from torch import Tensor

__all__ = ["FOLD_NAMES", "FOLD_VERSION", "FOLD_WIDTH", "fold_geometry"]

FOLD_VERSION = 1
"""Raise it when the same chain gets other numbers: numbers in a cache are then computed again."""

FOLD_NAMES = ("log_length", "log_radius_of_gyration")
"""What each number is."""

FOLD_WIDTH = len(FOLD_NAMES)
"""Numbers F of a chain."""


@torch.no_grad()
def fold_geometry(coords: Tensor, ptr: Tensor) -> Tensor:
    """Computes the fold geometry of a flat batch of chains; rotation and translation of a chain change nothing.

    A residue without N, CA or C is ignored. All numbers are finite for every chain.

    Arguments:
        coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
        ptr: First residue of each chain, and N, `[B + 1]` int64.

    Returns:
        The numbers of `FOLD_NAMES` for each chain, float32 `[B, FOLD_WIDTH]`.
    """
    ptr = ptr.to(coords.device)
    coords = coords.float()
    mask = coords[:, :3].isfinite().flatten(1).all(1)
    chain = torch.repeat_interleave(
        torch.arange(len(ptr) - 1, device=coords.device), ptr.diff(), output_size=len(coords)
    )
    ca, chain = coords[mask, 1], chain[mask]
    count = ca.new_zeros(len(ptr) - 1).index_add_(0, chain, torch.ones_like(ca[:, 0])).clamp(min=1)
    centre = ca.new_zeros(len(count), 3).index_add_(0, chain, ca) / count[:, None]
    square = ca.new_zeros(len(count)).index_add_(0, chain, (ca - centre[chain]).square().sum(1)) / count
    return torch.stack([count.log(), square.sqrt().clamp(min=1).log()], dim=1)
