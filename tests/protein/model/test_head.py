"""The classifier's pooling and its standardising of chains."""

import pytest
import torch

from partoken.protein.geometry.graph import featurize
from partoken.protein.model.head import ChainPooling, Standardise
from partoken.protein.model.settings import POOLINGS


def chains(count):
    """Draws summaries whose common part is a hundred times as large as their differences."""
    return 10 + torch.randn(count, 4) * torch.tensor([0.1, 0.2, 0.05, 0.1])


def test_after_training_each_channel_has_mean_zero_and_deviation_one():
    torch.manual_seed(0)
    standardise = Standardise(4)
    for _ in range(500):
        standardise(chains(8))
    standard = standardise.eval()(chains(4000))
    assert standard.mean(0).abs().max() < 0.3
    assert (standard.std(0) - 1).abs().max() < 0.2


def test_in_evaluation_nothing_is_learned_and_a_chain_does_not_depend_on_the_others():
    torch.manual_seed(0)
    standardise = Standardise(4)
    standardise(chains(8))
    standardise.eval()
    before = {name: value.clone() for name, value in standardise.state_dict().items()}
    x = chains(5)
    together = standardise(x)
    torch.testing.assert_close(torch.cat([standardise(row[None]) for row in x]), together)
    for name, value in standardise.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_channel_that_never_varies_stays_small():
    standardise = Standardise(2)
    for _ in range(200):
        standardise(torch.stack([torch.randn(16), torch.full((16,), 3.0)], dim=1))
    assert standardise.eval()(torch.tensor([[0.0, 3.0]]))[0, 1].abs() < 0.1


def test_one_chain_at_a_time_can_be_trained_on():
    torch.manual_seed(0)
    standardise = Standardise(4)
    for chain in chains(500):
        assert standardise(chain[None]).isfinite().all()
    standard = standardise.eval()(chains(4000))
    assert standard.mean(0).abs().max() < 1 and (standard.std(0).log().abs() < 1).all()


@pytest.mark.parametrize("count", [1, 8])
def test_frozen_averages_do_not_change_and_are_used_in_training(count):
    torch.manual_seed(0)
    standardise = Standardise(4)
    for _ in range(50):
        standardise(chains(8))
    standardise.frozen = True
    before = {name: value.clone() for name, value in standardise.state_dict().items()}
    x = chains(count).requires_grad_()
    trained = standardise.train()(x)
    trained.square().sum().backward()
    standardise.calibrate(torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(trained, standardise.eval()(x))
    assert x.grad.abs().min() > 0
    for name, value in standardise.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_summary_of_a_long_chain_is_as_exact_in_half_precision(batch_of, pooling):
    """A sum over residues in bfloat16 stops growing when a term is smaller than half its last digit."""
    coords, ptr = batch_of(40, 900)
    graph = featurize(coords, ptr, 4)
    h = 0.5 + 0.1 * torch.rand(len(coords), 6)
    pool = ChainPooling(6, pooling)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = pool(h.bfloat16(), graph)
    torch.testing.assert_close(half, pool(h.bfloat16().float(), graph), rtol=2e-3, atol=0)


def test_moments_are_mean_and_deviation_of_the_present_residues(batch_of):
    coords, ptr = batch_of(20, 30)
    coords[4, 1] = torch.nan
    graph = featurize(coords, ptr, 4)
    h = torch.randn(50, 6)
    pooled = ChainPooling(6, "moments")(h, graph)
    first = torch.cat([h[:4], h[5:20]])
    torch.testing.assert_close(pooled[0], torch.cat([first.mean(0), first.std(0, correction=0)]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled[1, :6], h[20:].mean(0))
