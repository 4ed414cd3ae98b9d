"""What a chain is made of, without its fold: its amino acids and its backbone angles."""

import math

import torch
from torch import Tensor

from partoken.protein.geometry.graph import featurize

__all__ = ["COMPOSITION_VERSION", "COMPOSITION_WIDTH", "composition"]

COMPOSITION_VERSION = 1
"""Raise it when the same chain gets other numbers: numbers in a cache are then computed again."""

ANGLE_BINS = 12
"""Bins of phi and of psi, each 30 degrees."""
RESIDUE_TYPES = 21
"""The amino acids and the unknown type."""

COMPOSITION_WIDTH = RESIDUE_TYPES + ANGLE_BINS**2
"""Numbers of a chain."""


@torch.no_grad()
def composition(coords: Tensor, ptr: Tensor, sequence: Tensor) -> Tensor:
    """Computes the fraction of each residue type and the histogram of the backbone angles of each chain.

    Residues without N, CA or C do not count. An angle that is not known counts as 0.

    Arguments:
        coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
        ptr: First residue of each chain, and N, `[B + 1]` int64.
        sequence: Amino acids, `[N]` int64 from 0 to 20 (20: unknown).

    Returns:
        21 fractions, then those of 12 by 12 cells of phi and psi; both sum to 1. float32 `[B, COMPOSITION_WIDTH]`.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> coords, ptr, sequence = torch.randn(50, 4, 3).cumsum(0), torch.tensor([0, 20, 50]), torch.arange(50) % 5
        >>> composition(coords, ptr, sequence)[:, :6]
        tensor([[0.2000, 0.2000, 0.2000, 0.2000, 0.2000, 0.0000],
                [0.2000, 0.2000, 0.2000, 0.2000, 0.2000, 0.0000]])
    """
    graph = featurize(coords.float(), ptr, 0)
    chain, num_chains = graph.chain[graph.mask], graph.num_chains
    phi, psi = (
        (torch.atan2(graph.node_s[graph.mask, 3 + i], graph.node_s[graph.mask, i]) / math.tau + 0.5) * ANGLE_BINS
        for i in range(2)
    )
    cell = phi.long().clamp(0, ANGLE_BINS - 1) * ANGLE_BINS + psi.long().clamp(0, ANGLE_BINS - 1)
    bins = torch.stack([sequence[graph.mask], RESIDUE_TYPES + cell])
    counts = torch.bincount((chain * COMPOSITION_WIDTH + bins).flatten(), minlength=num_chains * COMPOSITION_WIDTH)
    known = torch.bincount(chain, minlength=num_chains).clamp(min=1)
    return counts.view(num_chains, COMPOSITION_WIDTH) / known[:, None]
