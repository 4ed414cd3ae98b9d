"""The partition into regions of large attention, alone and as part of a network."""

from dataclasses import replace

import pytest
import torch

from partoken.errors import UserError
from partoken.protein.chains.batch import collate
from partoken.protein.geometry.graph import featurize
from partoken.protein.model.importance import explain
from partoken.protein.model.labels import LearnedLabel
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.regions import RegionPartitioner
from partoken.protein.model.settings import NetworkSettings

SETTINGS = NetworkSettings(
    encoder="frames",
    node_h_dim=(16, 1),
    num_layers=1,
    seq_in=True,
    partition="attention",
    residue_attention=True,
    max_clusters=6,
    cluster_size_max=12,
    combine="sum",
    exchange="geometry",
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = ParToken([3, 2], SETTINGS).eval()
    torch.nn.init.normal_(network.reading.score[2].weight)
    return network


def attention_held(network, batch):
    """The answer for some chains, and the attention inside each of their six regions, `[chains, 6]`."""
    output = network(**batch.inputs())
    attention = output.attention.detach().mean(1)
    chain = torch.arange(len(batch)).repeat_interleave(batch.ptr.diff())
    held = [
        [attention[(chain == number) & (output.assignment == region)].sum() for region in range(6)]
        for number in range(len(batch))
    ]
    return output, torch.tensor(held)


def test_a_feature_is_the_mean_of_the_residues_of_its_region(chains):
    batch = collate(chains[:4])
    graph = featurize(batch.coords, batch.ptr, features=False)
    h = torch.randn(len(batch.coords), 5)
    partition = RegionPartitioner(4, 12)(h, graph, torch.rand(len(h)))
    for chain, number in partition.mask.nonzero().tolist():
        members = (graph.chain == chain) & (partition.assignment == number)
        torch.testing.assert_close(partition.features[chain, number], h[members].mean(0))


def test_the_first_region_of_a_network_holds_more_attention_than_the_last(network, chains):
    held = attention_held(network, collate(chains[:4]))[1]
    assert torch.equal(held, held.sort(dim=1, descending=True).values)


def test_a_substructure_counts_as_much_as_its_residues_have_attention(network, chains):
    output, held = attention_held(network, collate(chains[:4]))
    torch.testing.assert_close(output.importance, held / held.sum(1, keepdim=True))


def test_the_weights_of_substructures_teach_the_attention(network, chains):
    network.train()
    network(**collate(chains[:4]).inputs()).contributions["substructures"].square().sum().backward()
    assert network.reading.score[2].weight.grad.abs().sum() > 0


def test_stretches_are_parts_of_the_chain(chains):
    torch.manual_seed(0)
    network = ParToken([3, 2], replace(SETTINGS, partition="stretches")).eval()
    output = network(**collate(chains[:1]).inputs())
    for region in output.cluster_mask[0].nonzero()[:, 0].tolist():
        assert ((output.assignment == region).nonzero()[:, 0].diff() == 1).all()


def test_a_chain_has_the_same_answer_alone_and_in_a_batch(network, chains):
    together = network(**collate(chains[:4]).inputs())
    alone = network(**collate(chains[2:3]).inputs())
    torch.testing.assert_close(alone.logits[0], together.logits[2], atol=1e-4, rtol=1e-4)
    assert torch.equal(alone.cluster_mask[0], together.cluster_mask[2])


def test_the_loss_reaches_the_attention_and_the_substructures(network, chains):
    network.train()
    network(**collate(chains[:4]).inputs()).logits.square().sum().backward()
    for part in (network.reading.score[2].weight, network.from_code.weight):
        assert part.grad.abs().sum() > 0


def test_it_can_be_explained(network, chains):
    labels = [LearnedLabel("fold", ("a", "b", "c"), False), LearnedLabel("kind", ("x", "y"), False)]
    importance = explain(network, labels, collate(chains[:1]).inputs()).importance
    assert importance.sum().item() == pytest.approx(1, abs=1e-5)


def test_regions_without_attention_are_refused_with_the_key_that_is_missing():
    with pytest.raises(UserError, match=r"model\.partition=attention.*model\.residue_attention=true"):
        NetworkSettings(partition="attention")
