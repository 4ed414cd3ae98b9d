"""Closest distances between groups of residues equal those of a loop over pairs of groups."""

import pytest
import torch

from partoken.protein.geometry.closest import closest_distances


@pytest.mark.parametrize("lengths", [(30,), (300, 20, 1, 290)], ids=["one chain", "several blocks"])
def test_distances_equal_those_of_the_plain_form(lengths):
    generator = torch.Generator().manual_seed(0)
    ptr = torch.tensor([0, *lengths]).cumsum(0)
    ca = torch.randn(int(ptr[-1]), 3, generator=generator) * 10
    group = torch.randint(-1, 5, (len(ca),), generator=generator)
    closest = closest_distances(ca, group, 6, ptr)
    assert closest.shape == (len(lengths), 6, 6)
    for number, (start, end) in enumerate(zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True)):
        points = [ca[start:end][group[start:end] == k] for k in range(6)]
        for first in range(6):
            for second in range(6):
                pair = torch.cdist(points[first], points[second])
                expected = pair.min() if pair.numel() else torch.tensor(torch.inf)
                torch.testing.assert_close(closest[number, first, second], expected, atol=1e-3, rtol=1e-4)
