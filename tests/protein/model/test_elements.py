"""The partition into elements: means of residues, the same in training and in evaluation."""

import pytest
import torch

from partoken.protein.chains.batch import collate
from partoken.protein.geometry.graph import featurize
from partoken.protein.model.elements import ElementPartitioner


@pytest.mark.parametrize("training", [True, False])
def test_a_feature_is_the_mean_of_the_residues_of_its_element(chains, training):
    batch = collate(chains[:6])
    batch.coords[7] = torch.nan
    graph = featurize(batch.coords, batch.ptr, 1, features=False)
    h = torch.randn(len(batch.coords), 5)
    partition = ElementPartitioner(8).train(training)(h, graph, torch.tensor(1.0))
    assert partition.mask.sum(1).min() > 1
    for chain, number in partition.mask.nonzero().tolist():
        members = (graph.chain == chain) & (partition.assignment == number)
        torch.testing.assert_close(partition.features[chain, number], h[members].mean(0))
    assert not partition.features[~partition.mask].any()
    assert torch.equal(partition.membership, graph.mask.float())
    assert (partition.assignment[partition.core] >= 0).all() and not partition.core.all()


def test_it_has_no_parameters():
    assert not ElementPartitioner(8).state_dict()
