"""The network of the pretraining: what hidden residues can and cannot know."""

import pytest
import torch

from partoken.protein.model.masked import MaskedResidues, choose_evenly
from partoken.protein.model.settings import NetworkSettings


@pytest.fixture
def predict(batch_of):
    """Predicts hidden residues of two random chains with given types; float64."""
    torch.manual_seed(0)
    small = {"node_h_dim": (16, 4), "num_layers": 3, "num_neighbors": 6, "drop_rate": 0.0}
    network = MaskedResidues(NetworkSettings(seq_in=True, **small)).double().eval()
    coords, ptr = batch_of(40, 60)

    def run(sequence, hidden, turn=None):
        points = coords.double() if turn is None else coords.double() @ turn.T
        with torch.no_grad():
            return network(points, ptr, sequence, hidden)

    return run


@pytest.fixture
def sequence():
    return torch.randint(20, (100,), generator=torch.Generator().manual_seed(1))


HIDDEN = torch.arange(100) % 4 == 1


def test_the_own_type_of_a_hidden_residue_reaches_no_prediction(predict, sequence):
    other = torch.where(HIDDEN, (sequence + 7) % 20, sequence)
    assert torch.equal(predict(sequence, HIDDEN), predict(other, HIDDEN))


def test_the_types_of_visible_neighbours_matter(predict, sequence):
    other = torch.where(HIDDEN, sequence, (sequence + 7) % 20)
    assert (predict(sequence, HIDDEN) - predict(other, HIDDEN)).abs().max(1).values.min() > 1e-6


def test_predictions_do_not_depend_on_the_orientation(predict, sequence, rotation):
    torch.testing.assert_close(predict(sequence, HIDDEN), predict(sequence, HIDDEN, rotation), atol=1e-9, rtol=1e-9)


def test_a_batch_without_hidden_residues_has_no_prediction(predict, sequence):
    assert predict(sequence, torch.zeros(100, dtype=torch.bool)).shape == (0, 20)


@pytest.mark.parametrize("fraction", [0.1, 0.37, 1.0])
def test_residues_are_chosen_in_every_part_of_a_chain(fraction):
    chosen = choose_evenly(torch.arange(1000), fraction)
    parts = chosen.view(10, 100).sum(1)
    assert ((parts - 100 * fraction).abs() <= 2).all()
