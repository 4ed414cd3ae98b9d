"""Features and neighbours of residue graphs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from partoken.protein.geometry.graph import featurize

FIXTURE = Path(__file__).parents[1] / "data" / "gvp_encoder.npz"


@pytest.fixture(scope="module")
def published():
    return dict(np.load(FIXTURE))


@pytest.fixture(scope="module")
def real(published):
    """Coordinates and pointer of three real chains of 48, 75 and 120 residues."""
    return torch.from_numpy(published["coords"]), torch.from_numpy(published["ptr"])


def test_features_equal_those_of_the_published_implementation(published, real):
    graph = featurize(*real)
    sender, receiver = published["edge_index"]
    theirs = np.lexsort((sender, receiver))
    ours = graph.neighbors.argsort(1)

    def edges(x):
        index = ours.reshape(*ours.shape, *[1] * (x.ndim - 2)).expand(*ours.shape, *x.shape[2:])
        return x.gather(1, index).flatten(0, 1).numpy()

    np.testing.assert_array_equal(edges(graph.neighbors), sender[theirs])
    np.testing.assert_allclose(graph.node_s, published["node_s"], atol=1e-4)
    np.testing.assert_allclose(graph.node_v, published["node_v"], atol=1e-4)
    np.testing.assert_allclose(edges(graph.edge_s), published["edge_s"][theirs], atol=1e-4)
    np.testing.assert_allclose(edges(graph.edge_v), published["edge_v"][theirs], atol=1e-4)


def test_neighbours_are_the_nearest_of_the_same_chain(real):
    coords, ptr = real
    graph = featurize(coords, ptr, num_neighbors=7)
    distance = torch.cdist(coords[:, 1].double(), coords[:, 1].double())
    distance[graph.chain[:, None] != graph.chain[None]] = torch.inf
    distance.fill_diagonal_(torch.inf)
    assert torch.equal(graph.neighbors, distance.topk(7, largest=False).indices)
    assert graph.neighbor_mask.all()


def test_ties_go_to_the_smaller_index():
    coords = torch.zeros(9, 4, 3)
    coords[:, 1, 0] = torch.arange(9.0)
    offset = torch.randint(-9, 9, (1, 4, 3))  # whole numbers, so that equal distances stay equal
    graph = featurize(coords + offset, torch.tensor([0, 9]), num_neighbors=2)
    assert graph.neighbors[4].tolist() == [3, 5]


def test_rotating_a_chain_rotates_its_vectors_and_keeps_its_scalars(real, rotation):
    coords, ptr = real
    # Coordinates on a grid have equal distances, which only float64 keeps equal.
    coords = coords.double()
    before = featurize(coords, ptr)
    after = featurize(coords @ rotation.T + torch.tensor([5.0, -3.0, 8.0]), ptr)
    assert torch.equal(before.neighbors, after.neighbors)
    for name in ("node_s", "edge_s"):
        torch.testing.assert_close(getattr(before, name), getattr(after, name), atol=1e-4, rtol=0)
    for name in ("node_v", "edge_v"):
        torch.testing.assert_close(getattr(before, name) @ rotation.T, getattr(after, name), atol=1e-4, rtol=0)


def test_a_chain_has_the_same_graph_alone_and_among_others(real):
    coords, ptr = real
    together = featurize(coords, ptr)
    start, end = ptr[1], ptr[2]
    alone = featurize(coords[start:end], torch.tensor([0, end - start]))
    assert torch.equal(together.neighbors[start:end] - start, alone.neighbors)
    for name in ("node_s", "node_v", "edge_s", "edge_v", "neighbor_mask"):
        assert torch.equal(getattr(together, name)[start:end], getattr(alone, name)), name


def test_a_missing_residue_has_no_features_and_no_edges(real):
    coords, ptr = real
    coords = coords.clone()
    coords[60, 2, 1] = torch.nan
    graph = featurize(coords, ptr)
    assert graph.mask.logical_not().nonzero().tolist() == [[60]]
    assert not graph.neighbor_mask[60].any()
    assert not (graph.neighbors[graph.neighbor_mask] == 60).any()
    for feature in (graph.node_s, graph.node_v, graph.edge_s, graph.edge_v):
        assert feature.isfinite().all()
        assert not feature[60].any()
    # Its neighbours in the sequence are chain ends: psi and omega of residue 59 and phi of residue 61 are unknown.
    assert graph.node_s[59, [1, 4, 2, 5]].tolist() == [1, 0, 1, 0]
    assert graph.node_s[61, [0, 3]].tolist() == [1, 0]
    assert not graph.node_v[59, 0].any() and not graph.node_v[61, 1].any()
    assert graph.node_v[59, 1].norm() > 0.99 and graph.node_v[61, 0].norm() > 0.99


def test_a_missing_oxygen_changes_nothing(real):
    coords, ptr = real
    without = coords.clone()
    without[:, 3] = torch.nan
    assert torch.equal(featurize(without, ptr).edge_s, featurize(coords, ptr).edge_s)


def test_a_chain_shorter_than_the_neighbour_count_leaves_slots_empty():
    coords = torch.randn(46, 4, 3).cumsum(0)
    graph = featurize(coords, torch.tensor([0, 1, 6, 46]))
    assert graph.neighbor_mask.sum(1).unique_consecutive().tolist() == [0, 4, 30]
    assert graph.neighbors.shape == (46, 30)
    assert not graph.edge_s[~graph.neighbor_mask].any()


def test_the_graph_has_no_more_slots_than_the_longest_chain_can_fill(real):
    coords, ptr = real
    graph, all_others = featurize(coords, ptr, num_neighbors=100_000), featurize(coords, ptr, num_neighbors=119)
    assert graph.neighbors.shape == (243, 119) and graph.edge_s.shape == (243, 119, 32)
    assert graph.neighbor_mask.sum(1).unique().tolist() == [47, 74, 119]
    for name in ("neighbors", "neighbor_mask", "edge_s", "edge_v"):
        assert torch.equal(getattr(graph, name), getattr(all_others, name)), name
    assert featurize(coords[:1], torch.tensor([0, 1])).neighbors.tolist() == [[0]]


def test_neighbours_are_right_in_a_chain_longer_than_a_block_of_rows():
    coords = torch.randn(700, 4, 3).cumsum(0)
    graph = featurize(coords, torch.tensor([0, 20, 700]), num_neighbors=5)
    nearest = torch.cdist(coords[20:, 1].double(), coords[20:, 1].double()).topk(6, largest=False).indices[:, 1:]
    assert torch.equal(graph.neighbors[20:], nearest + 20)


def test_dihedral_angles_have_the_sign_of_the_iupac_convention():
    """Places four atoms with a known torsion angle; clockwise is positive."""
    phi = torch.tensor(-1.0)
    c_before, n, ca = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0]), torch.zeros(3)
    # Seen along N -> CA, which is -x, C is rotated by phi from C', which is +y.
    c = torch.stack([torch.tensor(0.0), phi.cos(), -phi.sin()])
    residues = torch.stack(
        [
            torch.stack([c_before + torch.tensor([2.0, 1.0, 0.5]), c_before + torch.tensor([1.0, 0.2, 0.1]), c_before]),
            torch.stack([n, ca, c]),
        ]
    )
    coords = torch.cat([residues, torch.zeros(2, 1, 3)], dim=1)
    graph = featurize(coords, torch.tensor([0, 2]), num_neighbors=1)
    torch.testing.assert_close(graph.node_s[1, [0, 3]], torch.stack([phi.cos(), phi.sin()]))
