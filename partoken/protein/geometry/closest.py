"""The closest distance between groups of residues, for a whole batch of chains at once."""

from bisect import bisect_right

import torch
from torch import Tensor

__all__ = ["closest_distances"]


@torch.no_grad()
def closest_distances(ca: Tensor, group: Tensor, num_groups: int, ptr: Tensor) -> Tensor:
    """Computes the closest CA distance between the groups of each chain.

    A block of residues is compared only with the chains that it contains, so the memory does not grow with the square
    of the batch.

    Arguments:
        ca: Positions of CA in angstrom, `[N, 3]`.
        group: Group of each residue, numbered within its chain, `[N]` int64; -1 for none.
        num_groups: Number of groups K of a chain.
        ptr: First residue of each chain, and N, `[B + 1]` int64. On the CPU it saves a GPU one synchronisation.

    Returns:
        Distances in angstrom, `[B, K, K]`: 0 on the diagonal, infinite where one of the groups is empty.

    Example:
        >>> ca = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 4, 0]])
        >>> closest_distances(ca, torch.tensor([0, 0, 1]), 2, torch.tensor([0, 3]))
        tensor([[[0., 4.],
                 [4., 0.]]])
    """
    bounds = ptr.tolist()
    num_chains, size = len(bounds) - 1, len(ca)
    rows_at_once = 256 if ca.device.type == "cpu" else 4096
    chain = torch.bucketize(torch.arange(size, device=ca.device), ptr.to(ca.device)[1:], right=True)
    # The last slot takes the residues without a group.
    slot = torch.where(group >= 0, group, num_groups)
    row_of = chain * (num_groups + 1) + slot
    closest = ca.new_full((num_chains * (num_groups + 1), num_groups + 1), torch.inf)
    for first in range(0, size, rows_at_once):
        last = min(first + rows_at_once, size)
        rows = slice(first, last)
        columns = slice(bounds[bisect_right(bounds, first) - 1], bounds[bisect_right(bounds, last - 1)])
        x, y, z = (ca[rows, None, axis] - ca[None, columns, axis] for axis in range(3))
        square = x.square_() + y.square_() + z.square_()
        square.masked_fill_(chain[rows, None] != chain[None, columns], torch.inf)
        to_groups = square.new_full((last - first, num_groups + 1), torch.inf)
        to_groups.scatter_reduce_(1, slot[None, columns].expand_as(square), square, "amin")
        closest.scatter_reduce_(0, row_of[rows, None].expand_as(to_groups), to_groups, "amin")
    closest = closest.view(num_chains, num_groups + 1, num_groups + 1)
    return closest[:, :num_groups, :num_groups].sqrt()
