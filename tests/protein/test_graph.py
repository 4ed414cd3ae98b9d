"""Features and neighbours of residue graphs."""

from pathlib import Path

import numpy as np
import torch

from partoken.protein.graph import featurize

FIXTURE = Path(__file__).parent / "data" / "gvp_encoder.npz"


def test_features_equal_those_of_the_published_implementation():
    published = np.load(FIXTURE)
    graph = featurize(torch.from_numpy(published["coords"]), torch.from_numpy(published["ptr"]))
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
