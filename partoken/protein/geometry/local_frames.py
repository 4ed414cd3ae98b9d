"""The surroundings of each residue in its own frame: numbers that a rotation of the chain does not change.

References:
    Generative Models for Graph-Based Protein Design (Ingraham et al., NeurIPS 2019), for frames of residues.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.protein.geometry.graph import ResidueGraph, radial_basis

__all__ = ["LOCAL_CHANNELS", "local_axes", "local_edges", "virtual_cb"]

_NUM_RBF = 16
_SCALE = 0.125
"""Coordinates of neighbours, some ten angstrom, become numbers near one."""

LOCAL_CHANNELS = 2 * _NUM_RBF + 4 * 3 + 3
"""Numbers of an edge; see `local_edges`."""


def virtual_cb(backbone: Tensor) -> Tensor:
    """Computes where CB is in an ideal residue, `[N, 3]` in angstrom, from N, CA and C, `[N, 3 or more, 3]`.

    References:
        The coefficients place CB of an ideal alanine: Robust deep learning based protein sequence design using
        ProteinMPNN (Dauparas et al., Science 378, 2022), supplement.
    """
    n, ca, c = backbone[:, 0], backbone[:, 1], backbone[:, 2]
    to_ca, to_c = ca - n, c - ca
    normal = torch.linalg.cross(to_ca, to_c)
    return ca - 0.58273431 * normal + 0.56802827 * to_ca - 0.54067466 * to_c


def local_axes(backbone: Tensor) -> Tensor:
    """Computes the axes of each residue's frame, `[N, 3 (axis), 3]`, from N, CA and C, `[N, 3 or more, 3]`.

    The first axis points from CA to C, the second one lies in the plane of N, CA and C, and the third one is
    perpendicular to both, right-handed.
    """
    n, ca, c = backbone[:, 0], backbone[:, 1], backbone[:, 2]
    first = F.normalize(c - ca, dim=-1)
    to_n = n - ca
    second = F.normalize(to_n - (to_n * first).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=1)


@torch.no_grad()
def local_edges(coords: Tensor, graph: ResidueGraph) -> Tensor:
    """Computes how each residue sees its neighbours.

    The numbers of an edge are a radial basis of the distance of the virtual CB atoms and one of the CA atoms, 16 each;
    the positions of the sender's CA, virtual CB, N and C in the receiver's frame; and the position of the receiver's CA
    in the sender's frame. Positions are in units of 8 angstrom.

    Arguments:
        coords: Positions of N, CA, C, O in angstrom, `[N, 4, 3]`, NaN where missing.
        graph: Their neighbours.

    Returns:
        `[N, k, LOCAL_CHANNELS]`, zero in empty slots.
    """
    backbone = torch.where(graph.mask[:, None, None], coords[:, :3], 0.0)
    n, ca, c = backbone.unbind(1)
    cb, axes, neighbors = virtual_cb(backbone), local_axes(backbone), graph.neighbors
    atoms = torch.stack([ca, cb, n, c], dim=1)
    seen = _turn(axes[:, None, None], atoms[neighbors] - ca[:, None, None])
    seeing = _turn(axes[neighbors], ca[:, None] - ca[neighbors])
    distances = [(cb[neighbors] - cb[:, None]).norm(dim=-1), (ca[neighbors] - ca[:, None]).norm(dim=-1)]
    parts = [
        *(radial_basis(distance, _NUM_RBF) for distance in distances),
        seen.flatten(2) * _SCALE,
        seeing * _SCALE,
    ]
    return torch.cat(parts, dim=-1) * graph.neighbor_mask[..., None]


def _turn(axes: Tensor, vector: Tensor) -> Tensor:
    """Computes the coordinates `[..., 3]` of vectors `[..., 3]` along axes `[..., 3 (axis), 3]`."""
    return (axes * vector[..., None, :]).sum(-1)
