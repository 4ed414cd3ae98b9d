"""How an answer is split between the parts of the network: the split is exact, fair and follows the scores."""

import pytest
import torch

from partoken.protein.model.contributions import FOLD, RESIDUES, SUBSTRUCTURES, WHOLE, answer_shares, split_between
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import NetworkSettings

SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 6, "max_clusters": 4, "codebook_size": 16}
EVERYTHING = {"fold_geometry": True, "residue_attention": True}


def network(**settings):
    torch.manual_seed(0)
    model = ParToken(5, NetworkSettings(**{**SMALL, **settings}))
    for parameter in model.parameters():  # also those that begin at zero
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return model.eval()


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, [SUBSTRUCTURES, WHOLE]),
        ({"classify_from": "substructures"}, [SUBSTRUCTURES]),
        ({"partition": "none"}, [WHOLE]),
        ({"partition": "elements", "exchange": "geometry"}, [SUBSTRUCTURES, WHOLE]),
        (EVERYTHING, [SUBSTRUCTURES, WHOLE, RESIDUES, FOLD]),
        ({**EVERYTHING, "combine": "sum", "pooling": "environments"}, [SUBSTRUCTURES, WHOLE, RESIDUES, FOLD]),
        ({**EVERYTHING, "combine": "sum", "classify_from": "substructures"}, [SUBSTRUCTURES, RESIDUES, FOLD]),
    ],
    ids=["gate", "substructures alone", "no partition", "elements", "everything", "sum of classifiers", "no summary"],
)
def test_contributions_and_a_constant_sum_to_the_scores(batch_of, settings, parts):
    model = network(**settings)
    assert model.parts == parts
    first, second = (model(*batch_of(30, 24, 40, seed=seed)) for seed in (1, 2))
    assert list(first.contributions) == parts
    constants = [output.logits - sum(scores for scores in output.contributions.values()) for output in (first, second)]
    expected = constants[0][:1].expand(3, -1)
    for constant in constants:
        torch.testing.assert_close(constant, expected, atol=1e-4, rtol=0)


def test_training_computes_no_contributions_of_a_gate(batch_of):
    assert network().train()(*batch_of(30, 24)).contributions == {}


def test_training_has_the_contributions_of_a_sum(batch_of):
    """So each part can learn to answer alone."""
    output = network(combine="sum", drop_rate=0.5).train()(*batch_of(30, 24))
    assert list(output.contributions) == [SUBSTRUCTURES, WHOLE]
    sum(scores.square().sum() for scores in output.contributions.values()).backward()


def test_a_part_that_the_scores_ignore_has_no_contribution():
    x, y = torch.randn(6, 3), torch.randn(6, 3)
    of_x, of_y = split_between(lambda a, b: a.square() + 0 * b, x, y)
    torch.testing.assert_close(of_x, x.square())
    assert (of_y == 0).all()


def test_two_parts_that_play_the_same_role_get_the_same_contribution():
    x = torch.randn(6, 3)
    of_first, of_second = split_between(lambda a, b: (a * b).tanh() + a + b, x, x)
    torch.testing.assert_close(of_first, of_second)


def test_shares_sum_to_one_and_a_part_that_argues_against_the_answer_has_none():
    parts = {"for": torch.tensor([[1.0, 0.0, -1.0]]), "more": torch.tensor([[3.0, 0.0, -3.0]])}
    against = {"against": torch.tensor([[-1.0, 2.0, 0.0]])}
    shares = answer_shares({**parts, **against}, torch.tensor([0]))
    assert shares["for"].item() == pytest.approx(0.25) and shares["more"].item() == pytest.approx(0.75)
    assert shares["against"].item() == 0


def test_an_answer_for_which_no_part_argues_has_no_shares():
    shares = answer_shares({"a": torch.tensor([[-1.0, 1.0]])}, torch.tensor([0]))
    assert shares["a"].item() == 0


def test_a_shift_of_all_scores_of_a_part_changes_no_share():
    parts = {"a": torch.randn(4, 3), "b": torch.randn(4, 3)}
    chosen = torch.tensor([0, 2, 1, 1])
    moved = {"a": parts["a"] + 5, "b": parts["b"] - 2}
    for name, share in answer_shares(parts, chosen).items():
        torch.testing.assert_close(answer_shares(moved, chosen)[name], share, atol=1e-5, rtol=1e-5)
