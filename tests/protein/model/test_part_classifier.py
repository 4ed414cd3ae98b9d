"""The classifier of one part: what it standardises, and how the network measures it."""

import pytest
import torch

from partoken.protein.model.part_classifier import PartClassifier
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import NetworkSettings

SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 6, "max_clusters": 4, "codebook_size": 16}


def network(**settings):
    torch.manual_seed(0)
    return ParToken(5, NetworkSettings(**{**SMALL, "combine": "sum", **settings}))


def batches(batch_of):
    return [dict(zip(("coords", "ptr"), batch_of(30, 24, 40, seed=seed), strict=True)) for seed in (1, 2, 3)]


def test_a_common_part_of_all_chains_and_their_scale_do_not_change_the_scores():
    torch.manual_seed(0)
    classifier = PartClassifier(8, 3, 0.0, standardise=True).train()
    x = torch.randn(40, 8)
    torch.testing.assert_close(classifier(x), classifier(100 + 7 * x), atol=1e-3, rtol=0)
    plain = PartClassifier(8, 3, 0.0)
    assert (plain(x) - plain(100 + 7 * x)).abs().max() > 0.1


@pytest.mark.parametrize("reads", ["both", "substructures"])
def test_calibration_measures_what_the_classifier_reads_with_the_new_averages_of_its_inputs(batch_of, reads):
    """In evaluation the mean answer of the calibration chains is 0 and its variance 1, in each channel."""
    model = network(classify_from=reads)
    given = batches(batch_of)
    model.init_codebook(given)
    model.train()
    model.calibrate(given)
    assert model.training
    seen = []
    model.head.standardise_answer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.eval()
    for batch in given:
        model(**batch)
    answers = torch.cat(seen)
    torch.testing.assert_close(answers.mean(0), torch.zeros(answers.shape[1]), atol=1e-3, rtol=0)
    varies = answers.var(0, unbiased=False) > 0.5  # a channel that hardly varies is divided by sqrt(1e-5) at most
    assert varies.any()
    assert (answers.var(0, unbiased=False) < 1.01).all()


def test_a_gate_has_the_classifier_of_the_published_network():
    assert network(combine="gate").head.standardise_answer is None
    assert network(partition="none").head.standardise_answer is None
    assert network().head.standardise_answer is not None
