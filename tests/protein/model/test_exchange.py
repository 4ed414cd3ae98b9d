"""Messages by geometry: the plain form, gradients, and what they know and keep."""

import pytest
import torch
import torch.nn.functional as F

from partoken.protein.chains.batch import collate
from partoken.protein.geometry.arrangement import arrange
from partoken.protein.geometry.elements import find_elements
from partoken.protein.geometry.graph import featurize
from partoken.protein.model.exchange import GeometryExchange

DIM, MOST = 16, 9


@pytest.fixture
def case(chains):
    torch.manual_seed(0)
    return setting(chains[:5])


def setting(chains, mirror=1.0):
    """Returns the arrangement of chains and which substructures exist; the mirror image keeps the elements."""
    batch = collate(chains)
    elements = find_elements(featurize(batch.coords, batch.ptr, 1), MOST)
    graph = featurize(batch.coords * torch.tensor([mirror, 1.0, 1.0]), batch.ptr, 1)
    return arrange(graph, elements.assignment, elements.mask, elements.core), elements.mask


def test_a_round_equals_its_plain_form(case):
    arrangement, mask = case
    exchange = GeometryExchange(DIM, 1, 0.0)
    tokens = torch.randn(*mask.shape, DIM)
    one, start = exchange.rounds[0], tokens + exchange.own(arrangement.own)
    flat = start.flatten(0, 1)
    expected = []
    for receiver in range(len(flat)):
        total = torch.zeros(DIM)
        for pair in (arrangement.receiver == receiver).nonzero().flatten().tolist():
            sender = arrangement.sender[pair]
            told = one.receiver(one.before(flat[receiver])) + one.sender(one.before(flat[sender]))
            total = total + F.gelu(told + one.pair(arrangement.pairs[pair])) / 6
        expected.append(exchange.after(flat[receiver] + one.after(total)))
    torch.testing.assert_close(exchange(tokens, arrangement).flatten(0, 1), torch.stack(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_every_parameter_learns(case, num_layers):
    arrangement, mask = case
    exchange = GeometryExchange(DIM, num_layers, 0.1)
    answer = exchange(torch.randn(*mask.shape, DIM), arrangement)
    (answer * torch.randn_like(answer) * mask[..., None]).sum().backward()
    for name, parameter in exchange.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_equal_substructures_become_different(case):
    arrangement, mask = case
    answer = GeometryExchange(DIM, 2, 0.0)(torch.ones(*mask.shape, DIM), arrangement)
    for chain, present in zip(answer, mask, strict=True):
        assert torch.pdist(chain[present]).min() > 1e-3


def test_the_mirror_image_gives_another_answer(chains, case):
    arrangement, mask = case
    mirrored, _ = setting(chains[:5], mirror=-1.0)
    exchange = GeometryExchange(DIM, 1, 0.0)
    tokens = torch.zeros(*mask.shape, DIM)
    assert (exchange(tokens, arrangement) - exchange(tokens, mirrored)).abs().max() > 1e-3


def test_half_precision_comes_close_to_single_precision(case):
    arrangement, mask = case
    exchange = GeometryExchange(DIM, 2, 0.0)
    tokens = torch.randn(*mask.shape, DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = exchange(tokens, arrangement)
    assert (half - exchange(tokens, arrangement)).abs().mean() < 0.02
