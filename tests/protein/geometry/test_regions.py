"""Regions of large scores: compact, connected, and the same whatever turns the chain or joins the batch."""

import math

import numpy as np
import pytest
import torch

from partoken.protein.chains.batch import collate
from partoken.protein.geometry.graph import featurize
from partoken.protein.geometry.regions import REACH, find_regions


def graph_of(coords: torch.Tensor, ptr: torch.Tensor):
    return featurize(coords, ptr, 36, features=False)


@pytest.fixture
def batch(chains):
    return collate(chains[:5])


@pytest.fixture
def scores(batch):
    return torch.rand(len(batch.coords), generator=torch.Generator().manual_seed(0))


def test_a_region_is_compact_and_has_at_most_its_size(batch, scores):
    graph = graph_of(batch.coords, batch.ptr)
    regions = find_regions(graph, scores, size=12, max_regions=6)
    for chain, number in regions.mask.nonzero().tolist():
        members = (graph.chain == chain) & (regions.assignment == number)
        ca = batch.coords[members, 1]
        assert 1 <= len(ca) <= 12
        assert torch.cdist(ca, ca).amax(1).min() <= REACH + 1e-3, "one residue is near all others"


def test_the_first_region_has_the_largest_sum_of_all_neighborhoods(batch, scores):
    graph = graph_of(batch.coords, batch.ptr)
    regions = find_regions(graph, scores, size=12, max_regions=1)
    for chain, (begin, end) in enumerate(zip(batch.ptr[:-1].tolist(), batch.ptr[1:].tolist(), strict=True)):
        ca = batch.coords[begin:end, 1].double().numpy()
        of_chain = scores[begin:end].numpy()
        sums = []
        for centre in ca:
            distance = np.linalg.norm(ca - centre, axis=1)
            nearest = np.argsort(distance, kind="stable")[:12]
            sums.append(of_chain[nearest[distance[nearest] <= REACH]].sum())
        members = (graph.chain == chain) & (regions.assignment == 0)
        assert scores[members].sum().item() == pytest.approx(max(sums), rel=1e-5)


def test_with_enough_regions_every_present_residue_is_in_one(batch, scores):
    batch.coords[3] = torch.nan
    graph = graph_of(batch.coords, batch.ptr)
    regions = find_regions(graph, scores, size=12, max_regions=graph.max_length)
    assert torch.equal(regions.assignment >= 0, graph.mask)


def test_only_the_first_regions_are_kept_and_their_order_is_that_of_the_search(batch, scores):
    graph = graph_of(batch.coords, batch.ptr)
    few, many = (find_regions(graph, scores, size=12, max_regions=most) for most in (2, 5))
    assert torch.equal(few.mask, many.mask[:, :2])
    assert torch.equal(few.assignment, torch.where(many.assignment < 2, many.assignment, -1))


def test_a_chain_has_the_same_regions_alone_and_in_a_batch(batch, scores):
    together = find_regions(graph_of(batch.coords, batch.ptr), scores, size=12, max_regions=6)
    for begin, end in zip(batch.ptr[:-1].tolist(), batch.ptr[1:].tolist(), strict=True):
        alone = graph_of(batch.coords[begin:end], torch.tensor([0, end - begin]))
        found = find_regions(alone, scores[begin:end], size=12, max_regions=6)
        assert torch.equal(found.assignment, together.assignment[begin:end])


def test_turning_a_chain_changes_no_region(batch, scores):
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = (batch.coords @ turn.T) + torch.tensor([8.0, -4.0, 16.0])
    before, after = (
        find_regions(graph_of(coords, batch.ptr), scores, size=12, max_regions=6).assignment
        for coords in (batch.coords, turned)
    )
    assert (before == after).float().mean() > 0.99


def test_a_chain_with_fewer_residues_than_a_region_is_one_region_if_it_is_within_reach():
    angle = torch.arange(6) * math.radians(100)
    ca = torch.stack([2.3 * angle.cos(), 2.3 * angle.sin(), 1.5 * torch.arange(6)], dim=1)
    coords = ca[:, None] + torch.randn(4, 3, generator=torch.Generator().manual_seed(0)) * 0.1
    regions = find_regions(graph_of(coords, torch.tensor([0, 6])), torch.ones(6), size=12, max_regions=3)
    assert regions.assignment.tolist() == [0] * 6 and regions.mask.tolist() == [[True, False, False]]


def test_a_missing_chain_has_no_region():
    coords = torch.full((5, 4, 3), torch.nan)
    regions = find_regions(graph_of(coords, torch.tensor([0, 5])), torch.ones(5), size=3, max_regions=2)
    assert (regions.assignment == -1).all() and not regions.mask.any()


def test_along_the_chain_a_region_is_a_stretch_without_a_gap(batch, scores):
    batch.coords[70:73] = torch.nan
    graph = graph_of(batch.coords, batch.ptr)
    regions = find_regions(graph, scores, size=12, max_regions=6, along_chain=True)
    for chain, number in regions.mask.nonzero().tolist():
        members = ((graph.chain == chain) & (regions.assignment == number)).nonzero()[:, 0]
        assert 1 <= len(members) <= 12 and (members.diff() == 1).all()
    assert (regions.assignment[70:73] == -1).all()


def test_the_first_stretch_has_the_largest_sum_of_all_windows(batch, scores):
    graph = graph_of(batch.coords, batch.ptr)
    regions = find_regions(graph, scores, size=11, max_regions=1, along_chain=True)
    for chain, (begin, end) in enumerate(zip(batch.ptr[:-1].tolist(), batch.ptr[1:].tolist(), strict=True)):
        best = np.convolve(scores[begin:end].numpy(), np.ones(11), "valid").max()
        members = (graph.chain == chain) & (regions.assignment == 0)
        assert members.sum() == 11 and scores[members].sum().item() == pytest.approx(best, rel=1e-5)
