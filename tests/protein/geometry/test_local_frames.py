"""How a residue sees its neighbours: against a plain form, and whatever the rotation and the batch."""

import math

import pytest
import torch

from partoken.protein.geometry.graph import featurize
from partoken.protein.geometry.local_frames import LOCAL_CHANNELS, local_axes, local_edges, virtual_cb


def graph_of(coords, ptr, k=6):
    return featurize(coords, ptr, k, num_rbf=0, num_positional=0)


def plain_edge(receiver, sender):
    """Computes the numbers of one edge in the plainest way, from N, CA and C of two residues, `[3, 3]` each."""
    n, ca, c = receiver
    first = (c - ca) / (c - ca).norm()
    second = (n - ca) - ((n - ca) @ first) * first
    second = second / second.norm()
    frame = [first, second, torch.linalg.cross(first, second)]
    cb, cb_sender = virtual_cb(receiver[None])[0], virtual_cb(sender[None])[0]
    numbers = []
    for distance in ((cb_sender - cb).norm(), (sender[1] - ca).norm()):
        for i in range(16):
            centre = 20 * i / 15
            numbers.append(math.exp(-(((float(distance) - centre) * 16 / 20) ** 2)))
    for atom in (sender[1], cb_sender, sender[0], sender[2]):
        numbers += [float((atom - ca) @ axis) / 8 for axis in frame]
    axes = local_axes(sender[None])[0]
    numbers += [float((ca - sender[1]) @ axis) / 8 for axis in axes]
    return torch.tensor(numbers)


def test_edges_agree_with_the_plain_form(batch_of):
    coords, ptr = batch_of(12, 9)
    graph = graph_of(coords, ptr)
    edges = local_edges(coords, graph)
    assert edges.shape == (21, 6, LOCAL_CHANNELS)
    for i in (0, 7, 15):
        for slot, j in enumerate(graph.neighbors[i].tolist()):
            assert edges[i, slot] == pytest.approx(plain_edge(coords[i, :3], coords[j, :3]), abs=2e-4)


def test_rotation_and_translation_change_nothing_and_reflection_does(batch_of, rotation):
    coords, ptr = batch_of(40)
    edges = local_edges(coords, graph_of(coords, ptr))
    moved = coords @ rotation.float().T + torch.tensor([5.0, -3.0, 9.0])
    assert local_edges(moved, graph_of(moved, ptr)) == pytest.approx(edges, abs=2e-4)
    mirrored = coords * torch.tensor([1.0, 1.0, -1.0])
    assert (local_edges(mirrored, graph_of(mirrored, ptr)) - edges).abs().max() > 0.1


def test_axes_are_orthonormal_and_right_handed(batch_of):
    axes = local_axes(batch_of(15)[0])
    assert axes @ axes.transpose(1, 2) == pytest.approx(torch.eye(3).expand(15, 3, 3), abs=1e-5)
    assert torch.linalg.det(axes) == pytest.approx(torch.ones(15), abs=1e-5)


def test_the_virtual_cb_is_at_the_length_of_a_bond_on_the_left_hand_side():
    """In an ideal residue CB is 1.53 angstrom from CA, and N, C, CB are anticlockwise if seen from the hydrogen."""
    residue = torch.tensor([[-0.525, 1.363, 0.0], [0.0, 0.0, 0.0], [1.526, 0.0, 0.0]])
    cb = virtual_cb(residue[None])[0]
    assert float(cb.norm()) == pytest.approx(1.53, abs=0.03)
    assert cb.tolist() == pytest.approx([-0.529, -0.774, -1.205], abs=0.03)


def test_missing_residues_and_empty_slots_are_zero(batch_of):
    coords, ptr = batch_of(4, 12)
    coords[6, 1] = torch.nan
    graph = graph_of(coords, ptr)
    edges = local_edges(coords, graph)
    assert edges.isfinite().all()
    assert (edges[~graph.neighbor_mask] == 0).all()
    assert (edges[6] == 0).all()
