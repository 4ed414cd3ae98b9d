"""From residues to the summary of a chain: exact, the same whoever is in the batch, and by environment."""

import pytest
import torch

from partoken.protein.geometry.graph import featurize
from partoken.protein.geometry.secondary_structure import COIL, HELIX, STRAND, secondary_structure
from partoken.protein.geometry.surroundings import surroundings
from partoken.protein.model.pooling import ChainPooling
from partoken.protein.model.settings import POOLINGS


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_summary_of_a_long_chain_is_as_exact_in_half_precision(batch_of, pooling):
    """A sum over residues in bfloat16 stops growing when a term is smaller than half its last digit."""
    coords, ptr = batch_of(40, 900)
    graph = featurize(coords, ptr, 4)
    h = 0.5 + 0.1 * torch.rand(len(coords), 6)
    pool = ChainPooling(6, pooling)
    near = torch.rand(len(coords), 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = pool(h.bfloat16(), graph, near)
    torch.testing.assert_close(half, pool(h.bfloat16().float(), graph, near), rtol=2e-3, atol=0)


def test_moments_are_mean_and_deviation_of_the_present_residues(batch_of):
    coords, ptr = batch_of(20, 30)
    coords[4, 1] = torch.nan
    graph = featurize(coords, ptr, 4)
    h = torch.randn(50, 6)
    pooled = ChainPooling(6, "moments")(h, graph)
    first = torch.cat([h[:4], h[5:20]])
    torch.testing.assert_close(pooled[0], torch.cat([first.mean(0), first.std(0, correction=0)]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled[1, :6], h[20:].mean(0))


def test_environments_are_means_over_their_residues(chains):
    chain = chains[60]
    coords, ptr = torch.from_numpy(chain.coords), torch.tensor([0, len(chain)])
    graph, near = featurize(coords, ptr, 0), surroundings(coords, ptr)
    h = torch.randn(len(chain), 6)
    pooled = ChainPooling(6, "environments")(h, graph, near)[0].view(7, 6)
    state = secondary_structure(graph)
    inside = [state == kind for kind in (HELIX, STRAND, COIL)]
    inside += [near[:, 0] > 0.75, near[:, 0] * near[:, 1] > 0.5]
    for place, members in enumerate(inside, start=2):
        expected = h[members].mean(0) if members.any() else torch.zeros(6)
        torch.testing.assert_close(pooled[place], expected)
    assert 0.2 < inside[3].float().mean() < 0.3


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_chain_does_not_depend_on_the_others_of_its_batch(batch_of, pooling):
    torch.manual_seed(0)
    coords, ptr = batch_of(25, 40)
    h, near, pool = torch.rand(65, 6), torch.rand(65, 5), ChainPooling(6, pooling)
    together = pool(h, featurize(coords, ptr, 0), near)
    alone = pool(h[25:], featurize(coords[25:], torch.tensor([0, 40]), 0), near[25:])
    torch.testing.assert_close(together[1:], alone)
    assert together.shape == (2, pool.width)
