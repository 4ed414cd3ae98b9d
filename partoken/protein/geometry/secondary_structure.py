"""Helices and strands from the backbone angles, for a whole batch of chains at once."""

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.protein.geometry.graph import ResidueGraph, backbone_angles

__all__ = ["COIL", "HELIX", "STRAND", "number_runs", "secondary_structure"]

COIL, HELIX, STRAND = 0, 1, 2

_SHORTEST = {HELIX: 4, STRAND: 3}
"""Residues of the shortest helix and the shortest strand."""


def secondary_structure(graph: ResidueGraph) -> Tensor:
    """Assigns each residue to a helix, a strand or neither.

    A helix is a run of at least 4 residues with phi from -140 to -30 and psi from -90 to 0 degrees; a strand is a run
    of at least 3 residues with phi from -180 to -45 and psi above 60 or below -150 degrees. These are wide regions of
    the Ramachandran plot around the ideal angles, (-57, -47) and (-120, 130) degrees.

    Arguments:
        graph: The batch of chains; it needs no features.

    Returns:
        `COIL`, `HELIX` or `STRAND` for each residue, `[N]` int64.
    """
    angles = backbone_angles(graph)
    phi, psi = (torch.rad2deg(torch.atan2(angles[:, 3 + i], angles[:, i])) for i in range(2))
    # An angle that is not known is exactly 0, which lies in neither region.
    helix = (phi > -140) & (phi < -30) & (psi > -90) & (psi < 0)
    strand = (phi < -45) & ((psi > 60) | (psi < -150))
    state = torch.where(helix, HELIX, torch.where(strand, STRAND, COIL)) * graph.mask
    number = number_runs(state, graph.chain)
    length = torch.bincount(number)[number]
    shortest = torch.tensor([0, _SHORTEST[HELIX], _SHORTEST[STRAND]], device=state.device)
    return torch.where(length >= shortest[state], state, COIL)


def number_runs(state: Tensor, chain: Tensor) -> Tensor:
    """Numbers the runs of equal states along the chains from 0, `[N]` int64; a run ends where its chain ends.

    Arguments:
        state: State of each residue, `[N]` int64.
        chain: Number of each residue's chain, `[N]` int64, ascending.

    Example:
        >>> number_runs(torch.tensor([1, 1, 0, 0, 0, 2]), torch.tensor([0, 0, 0, 0, 1, 1])).tolist()
        [0, 0, 1, 1, 2, 3]
    """
    starts = (state[1:] != state[:-1]) | (chain[1:] != chain[:-1])
    return F.pad(starts.long(), (1, 0)).cumsum(0)
