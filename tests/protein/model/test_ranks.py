"""Ranks within a chain, against those of SciPy, and the division of scores by their sum."""

import torch
from scipy.stats import rankdata

from partoken.protein.model.ranks import multiply_ranks, share_out

PTR = torch.tensor([0, 6, 10])


def test_the_product_is_that_of_the_mean_ranks_of_each_chain():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(4, (2, 10), generator=generator).double()
    present = torch.tensor([1, 1, 0, 1, 1, 1, 0, 1, 1, 1], dtype=torch.bool)
    found = multiply_ranks([first, second], PTR, present)
    for begin, end in ((0, 6), (6, 10)):
        there = present[begin:end]
        ranks = [
            (torch.from_numpy(rankdata(scores[begin:end][there])) - 0.5) / there.sum() for scores in (first, second)
        ]
        torch.testing.assert_close(found[begin:end][there], ranks[0] * ranks[1])
        assert found[begin:end][~there].eq(0).all()


def test_the_unit_of_a_score_does_not_matter():
    scores, present = torch.arange(10.0), torch.ones(10, dtype=torch.bool)
    expected = multiply_ranks([scores], PTR, present)
    torch.testing.assert_close(multiply_ranks([scores.exp()], PTR, present), expected)


def test_a_chain_without_present_residues_has_only_zeros():
    present = torch.tensor([True] * 6 + [False] * 4)
    assert multiply_ranks([torch.arange(10.0)], PTR, present)[6:].eq(0).all()
    assert share_out(torch.ones(10), PTR, present)[6:].eq(0).all()


def test_scores_are_divided_by_their_sum_over_the_chain():
    present = torch.tensor([False] + [True] * 9)
    found = share_out(torch.arange(10.0).double(), PTR, present)
    torch.testing.assert_close(
        found, torch.tensor([0, 1, 2, 3, 4, 5, 0, 0, 0, 0]) / 15 + torch.tensor([0.0] * 6 + [6, 7, 8, 9]) / 30
    )
    assert found.dtype == torch.float32
