"""The standardising of chains: its moments, and what changes them."""

import pytest
import torch

from partoken.protein.model.standardise import Standardise


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
