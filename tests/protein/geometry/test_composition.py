"""Composition and backbone angles of chains: fractions of their known residues, whatever their place."""

import numpy as np
import torch

from partoken.protein.geometry.composition import COMPOSITION_WIDTH, composition
from partoken.protein.geometry.graph import featurize


def walk(length, seed):
    return torch.randn(length, 4, 3, generator=torch.Generator().manual_seed(seed)).cumsum(0)


def test_the_fractions_are_those_of_numpy():
    coords, sequence = walk(90, 0), torch.arange(90) % 21
    coords[5, 1] = torch.nan
    ptr = torch.tensor([0, 30, 90])
    found = composition(coords, ptr, sequence)
    assert found.shape == (2, COMPOSITION_WIDTH) and found.dtype == torch.float32
    graph = featurize(coords, ptr, 0)
    angles = np.arctan2(graph.node_s[:, 3:5].numpy(), graph.node_s[:, :2].numpy())
    for i, (start, end) in enumerate([(0, 30), (30, 90)]):
        known = np.arange(start, end)[graph.mask[start:end].numpy()]
        types = np.bincount(sequence[known].numpy(), minlength=21) / len(known)
        edges = np.linspace(-np.pi, np.pi, 13)
        histogram, *_ = np.histogram2d(*angles[known].T, bins=[edges, edges])
        expected = np.concatenate([types, histogram.flatten() / len(known)])
        np.testing.assert_allclose(found[i].numpy(), expected, atol=1e-6)


def test_an_unknown_chain_has_zeros():
    coords = torch.full((4, 4, 3), torch.nan)
    assert composition(coords, torch.tensor([0, 4]), torch.zeros(4, dtype=torch.int64)).eq(0).all()
