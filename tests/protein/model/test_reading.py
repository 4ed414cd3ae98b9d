"""Reading residues by attention: weights of each label over a chain, and the scores that it adds."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from partoken.protein.chains.batch import collate
from partoken.protein.geometry.graph import featurize
from partoken.protein.geometry.surroundings import SURROUNDINGS, surroundings
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.reading import AttentionReading, softmax_over_chains
from partoken.protein.model.settings import NetworkSettings

SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 16}
CLASSES = (2, 3)


def network(**settings):
    torch.manual_seed(0)
    return ParToken(CLASSES, NetworkSettings(**{**SMALL, "residue_attention": True, **settings})).eval()


def trained(**settings):
    """Returns a network whose scores are not zero."""
    made = network(**settings)
    torch.nn.init.normal_(made.reading.score[2].weight)
    return made


@pytest.fixture
def batch(chains):
    """Three real chains; the second has a residue without C."""
    batch = collate(chains[:3])
    batch.coords[batch.ptr[1] + 5, 2] = torch.nan
    return batch


def sums_of_chains(attention, ptr):
    return torch.stack([part.sum(0) for part in attention.split(ptr.diff().tolist())])


@pytest.mark.parametrize("partition", ["learned", "none"])
@pytest.mark.parametrize("prior", [True, False], ids=["prior", "no prior"])
def test_weights_sum_to_one_for_each_chain_and_label_and_a_missing_residue_has_none(batch, prior, partition):
    output = trained(attention_prior=prior, partition=partition)(batch.coords, batch.ptr)
    assert output.attention.shape == (len(batch.coords), len(CLASSES))
    torch.testing.assert_close(sums_of_chains(output.attention, batch.ptr), torch.ones(3, 2))
    assert not output.attention[batch.ptr[1] + 5].any()
    assert output.logits.shape == (3, sum(CLASSES))


def test_without_the_prior_a_new_network_weighs_all_residues_of_a_chain_alike(batch):
    attention = network(attention_prior=False)(batch.coords, batch.ptr).attention
    present = batch.coords[:, :3].isfinite().flatten(1).all(1)
    lengths = batch.ptr.diff().tolist()
    for part, here in zip(attention.split(lengths), present.split(lengths), strict=True):
        torch.testing.assert_close(part[here], torch.full_like(part[here], 1 / int(here.sum())))


def test_with_the_prior_a_new_network_weighs_residues_by_closeness_and_pocket(chains):
    chain = torch.from_numpy(chains[0].coords), torch.tensor([0, len(chains[0])])
    part, around = network()(*chain).attention, surroundings(*chain)
    expected = around[:, 0] * around[:, 1] + 0.01
    torch.testing.assert_close(part[:, 0], expected / expected.sum())


def test_a_chain_is_read_alike_alone_and_among_others(batch):
    made = trained()
    together = made(batch.coords, batch.ptr)
    for i, (start, end) in enumerate(pairwise(batch.ptr)):
        alone = made(batch.coords[start:end], torch.tensor([0, int(end - start)]))
        torch.testing.assert_close(alone.attention, together.attention[start:end])
        torch.testing.assert_close(alone.logits[0], together.logits[i], atol=1e-5, rtol=1e-4)


def test_rotation_and_translation_change_nothing_but_rounding(batch, rotation):
    made = trained()
    moved = (batch.coords.double() @ rotation.T + 20).float()
    before, after = made(batch.coords, batch.ptr), made(moved, batch.ptr)
    assert (before.attention - after.attention).abs().max() < 0.01
    assert (before.logits - after.logits).abs().max() < 0.05


def plain_reading(reading, h, around, ptr, mask):
    """Reads chain by chain and label by label in float64."""
    logits = []
    for start, end in pairwise(ptr):
        x = torch.cat([reading.norm(h[start:end]), around[start:end]], dim=1)[mask[start:end]]
        prior = around[start:end][mask[start:end]]
        row = []
        for label, layer in enumerate(reading.classify):
            weight = torch.exp(reading.score(x)[:, label]) * (prior[:, 0] * prior[:, 1] + 0.01)
            average = (weight[:, None] * x).sum(0) / weight.sum()
            places = slice(label * x.shape[1], (label + 1) * x.shape[1])
            mean, variance = reading.standardise.running_mean[places], reading.standardise.running_var[places]
            row.append(layer((average - mean) / torch.sqrt(variance + 1e-5)))
        logits.append(torch.cat(row))
    return torch.stack(logits)


def test_scores_equal_those_of_a_plain_form(batch):
    torch.manual_seed(1)
    reading = AttentionReading(16, CLASSES, prior=True, drop_rate=0.5).double().eval()
    torch.nn.init.normal_(reading.score[2].weight)
    reading.standardise.running_mean.normal_()
    graph = featurize(batch.coords, batch.ptr, 1)
    h = torch.randn(len(batch.coords), 16, dtype=torch.float64)
    around = surroundings(batch.coords, batch.ptr).double()
    found = reading(h, graph, around).logits
    torch.testing.assert_close(found, plain_reading(reading, h, around, batch.ptr, graph.mask))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_softmax_of_large_scores_is_finite(batch, scale):
    graph = featurize(batch.coords, batch.ptr, 1)
    scores = (torch.randn(len(batch.coords), 2) * scale).requires_grad_()
    weights = softmax_over_chains(scores, graph)
    torch.testing.assert_close(sums_of_chains(weights, batch.ptr), torch.ones(3, 2))
    weights.square().sum().backward()
    assert scores.grad.isfinite().all()


def test_a_chain_without_any_residue_has_no_weights(batch):
    batch.coords[: batch.ptr[1]] = torch.nan
    output = trained()(batch.coords, batch.ptr)
    assert not output.attention[: batch.ptr[1]].any()
    assert output.logits.isfinite().all()


def test_only_the_classes_of_a_label_depend_on_its_weights(batch):
    made = trained()
    before = made(batch.coords, batch.ptr).logits
    with torch.no_grad():
        made.reading.classify[1].weight.zero_()
    after = made(batch.coords, batch.ptr).logits
    assert torch.equal(before[:, :2], after[:, :2])
    assert (before[:, 2:] - after[:, 2:]).abs().min() > 1e-3


def test_the_gradient_reaches_the_encoder_and_the_scores(batch):
    torch.manual_seed(0)
    made = network().train()
    h, graph = made.embed(batch.coords, batch.ptr)
    made.reading(h, graph, surroundings(batch.coords, batch.ptr)).logits.square().sum().backward()
    assert made.reading.score[2].weight.grad.abs().max() > 0
    assert max(p.grad.abs().max() for p in made.encoder.parameters() if p.grad is not None) > 0


def test_given_surroundings_are_read_instead_of_computed_ones(batch):
    made, given = trained(), torch.full((len(batch.coords), len(SURROUNDINGS)), 0.5)
    around = surroundings(batch.coords, batch.ptr)
    computed = made(batch.coords, batch.ptr)
    assert torch.equal(made(batch.coords, batch.ptr, surroundings=around).logits, computed.logits)
    assert not torch.equal(made(batch.coords, batch.ptr, surroundings=given).logits, computed.logits)


def test_half_precision_keeps_the_weights_exact(batch):
    made = trained()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = made(batch.coords, batch.ptr)
    assert output.attention.dtype == output.logits.dtype == torch.float32
    torch.testing.assert_close(sums_of_chains(output.attention, batch.ptr), torch.ones(3, 2))


def test_the_attention_is_off_by_default_and_draws_its_weights_last():
    plain, with_attention = network(residue_attention=False), network()
    assert plain.reading is None
    state = with_attention.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_calibration_measures_what_the_labels_read(batch):
    made = trained()
    made.calibrate([batch.inputs(), {**batch.inputs(), "surroundings": surroundings(batch.coords, batch.ptr)}])
    h, graph = made.embed(batch.coords, batch.ptr)
    average = made.reading.average(h, graph, surroundings(batch.coords, batch.ptr))
    np.testing.assert_allclose(made.reading.standardise.running_mean, average.mean(0).detach(), atol=1e-5)
