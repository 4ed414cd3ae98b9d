"""The branch of the fold geometry: it standardises by the training chains, and is off unless asked for."""

import torch

from partoken.protein.geometry.fold import FOLD_WIDTH
from partoken.protein.model.fold_branch import FoldBranch
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import NetworkSettings

SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 6, "max_clusters": 4, "codebook_size": 16}


def test_scores_do_not_depend_on_the_units_of_the_numbers():
    torch.manual_seed(0)
    branch = FoldBranch(3).eval()
    numbers = torch.randn(50, FOLD_WIDTH)
    branch.set_scale(numbers)
    before = branch(numbers)
    branch.set_scale(numbers * 7 - 3)
    torch.testing.assert_close(branch(numbers * 7 - 3), before, atol=1e-4, rtol=1e-4)


def test_a_number_that_never_varies_is_ignored_and_an_outlier_is_bounded():
    torch.manual_seed(0)
    branch = FoldBranch(3).eval()
    numbers = torch.randn(50, FOLD_WIDTH)
    numbers[:, 0] = 2.0
    branch.set_scale(numbers)
    one = numbers[:1].clone()
    other = one.clone()
    other[0, 0] = 1e6
    assert torch.equal(branch(one), branch(other))
    one[0, 1], other[0, 1] = 1e3, 1e6
    assert torch.equal(branch(one), branch(other))


def test_the_scale_is_saved_with_the_weights():
    torch.manual_seed(0)
    branch, numbers = FoldBranch(3).eval(), torch.randn(50, FOLD_WIDTH) * 4 + 1
    assert not branch.measured
    branch.set_scale(numbers)
    restored = FoldBranch(3).eval()
    restored.load_state_dict(branch.state_dict())
    assert restored.measured and torch.equal(restored(numbers), branch(numbers))


def test_the_branch_changes_no_other_weight(batch_of):
    """With the same seed, a network without it has the weights that it had before the branch existed."""
    states = []
    for is_on in (False, True):
        torch.manual_seed(0)
        states.append(ParToken(3, NetworkSettings(**SMALL, fold_geometry=is_on)).state_dict())
    without, with_branch = states
    assert {name for name in with_branch if name not in without} == {
        name for name in with_branch if name.startswith("fold_branch.")
    }
    assert all(torch.equal(with_branch[name], value) for name, value in without.items())


def test_given_numbers_and_computed_ones_give_the_same_answer(batch_of):
    from partoken.protein.geometry.fold import fold_geometry

    torch.manual_seed(0)
    model = ParToken(3, NetworkSettings(**SMALL, fold_geometry=True)).eval()
    coords, ptr = batch_of(30, 24)
    assert torch.equal(model(coords, ptr).logits, model(coords, ptr, fold=fold_geometry(coords, ptr)).logits)
