"""What chains have in common does not hide what tells them apart."""

import pytest
import torch

from partoken.protein.model.graph import featurize
from partoken.protein.model.head import POOLINGS, ChainPooling, Standardise


def chains(count):
    """Common part a hundred times as large as the differences, which differ from channel to channel."""
    return 10 + torch.randn(count, 4) * torch.tensor([0.1, 0.2, 0.05, 0.1])


def test_after_training_each_channel_has_mean_zero_and_deviation_one():
    torch.manual_seed(0)
    standardise = Standardise(4)
    for _ in range(500):
        standardise(chains(8))
    found = standardise.eval()(chains(4000))
    assert found.mean(0).abs().max() < 0.3
    assert (found.std(0) - 1).abs().max() < 0.2


def test_in_evaluation_nothing_is_learned_and_chains_are_alone():
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
    found = standardise.eval()(chains(4000))
    assert found.mean(0).abs().max() < 1 and (found.std(0).log().abs() < 1).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_summary_of_a_long_chain_is_as_exact_in_half_precision(batch_of, pooling):
    """A sum over residues in bfloat16 stops growing where a term is less than half its last digit."""
    coords, ptr = batch_of(40, 900)
    graph = featurize(coords, ptr, 4)
    h = 0.5 + 0.1 * torch.rand(len(coords), 6)
    pool = ChainPooling(6, pooling)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = pool(h.bfloat16(), graph)
    torch.testing.assert_close(half, pool(h.bfloat16().float(), graph), rtol=2e-3, atol=0)
