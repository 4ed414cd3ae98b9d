"""The partitioner: rules of a partition, evaluation, and gradients."""

import pytest
import torch

from partoken.protein.geometry.graph import featurize
from partoken.protein.model.partition import Partitioner

DIM = 12


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def cut(partitioner, graph, h=None, tau=1.0):
    h = torch.randn(len(graph.mask), DIM, generator=torch.Generator().manual_seed(1)) if h is None else h
    return partitioner(h, graph, torch.tensor(tau))


@pytest.fixture
def graph(batch_of):
    coords, ptr = batch_of(10, 40, 120, 3)
    coords[60:64] = torch.nan
    return featurize(coords, ptr)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("k_hop", [1, 2, 3])
def test_substructures_are_disjoint_small_and_within_k_hops_of_a_seed(graph, training, learned, k_hop):
    partitioner = Partitioner(DIM, max_clusters=6, cluster_size_max=9, k_hop=k_hop, learned=learned).train(training)
    partition = cut(partitioner, graph)
    assert partition.assignment.shape == graph.mask.shape and partition.mask.shape == (4, 6)
    assert (partition.assignment[~graph.mask] == -1).all()
    assert torch.equal(partition.assignment >= 0, partition.membership > 0)
    reachable = torch.zeros(len(graph.mask), len(graph.mask), dtype=torch.bool)
    reachable.scatter_(1, graph.neighbors, graph.neighbor_mask)
    near = reachable.float()
    within = sum(torch.linalg.matrix_power(near, hops) for hops in range(k_hop + 1)) > 0
    for chain in range(4):
        for number in range(6):
            members = ((graph.chain == chain) & (partition.assignment == number)).nonzero().flatten()
            assert bool(partition.mask[chain, number]) == (len(members) > 0)
            if len(members):
                assert len(members) <= 9
                # At least one member, the seed, reaches all others within k_hop edges.
                assert within[members][:, members].all(1).any()
        numbers = partition.mask[chain].int()
        assert (numbers.diff() <= 0).all()


def test_a_feature_is_the_mean_of_its_residues(graph):
    h = torch.randn(len(graph.mask), DIM)
    partition = cut(Partitioner(DIM, max_clusters=4), graph, h)
    for chain, number in partition.mask.nonzero().tolist():
        members = (graph.chain == chain) & (partition.assignment == number)
        torch.testing.assert_close(partition.features[chain, number], h[members].mean(0))
    assert not partition.features[~partition.mask].any()


def test_a_chain_is_left_when_its_threshold_is_reached(graph):
    few = cut(Partitioner(DIM, max_clusters=30, termination_threshold=0.3), graph)
    many = cut(Partitioner(DIM, max_clusters=30, termination_threshold=1.0), graph)
    taken = torch.zeros(4).index_add(0, graph.chain, (few.assignment >= 0).float())
    size = torch.zeros(4).index_add(0, graph.chain, graph.mask.float())
    assert (taken >= 0.3 * size).all() and taken[2] < 0.3 * size[2] + 15
    assert few.mask.sum() < many.mask.sum()


def test_a_chain_is_left_when_no_residue_is_free(batch_of):
    graph = featurize(*batch_of(4, 2))
    partition = cut(Partitioner(DIM, max_clusters=9, termination_threshold=1.0), graph)
    assert (partition.assignment >= 0).all()
    assert partition.mask[:, -1].logical_not().all()


def test_a_chain_without_residues_has_no_substructure(batch_of):
    coords, ptr = batch_of(8, 5, 7)
    coords[8:13] = torch.nan
    h = torch.randn(20, DIM, requires_grad=True)
    graph = featurize(coords, ptr)
    partition = cut(Partitioner(DIM), graph, h)
    assert not partition.mask[1].any() and partition.mask[[0, 2]].any(1).all()
    partition.features.sum().backward()
    assert h.grad.isfinite().all() and not h.grad[8:13].any()


@pytest.mark.parametrize("learned", [True, False])
def test_in_evaluation_the_answer_is_the_same_twice_and_among_others(batch_of, learned):
    partitioner = Partitioner(DIM, learned=learned, k_hop=2).eval()
    coords, ptr = batch_of(20, 60, 90)
    graph = featurize(coords, ptr)
    h = torch.randn(170, DIM)
    first, second = cut(partitioner, graph, h), cut(partitioner, graph, h)
    assert torch.equal(first.assignment, second.assignment)
    alone = cut(partitioner, featurize(coords[20:80], torch.tensor([0, 60])), h[20:80])
    assert torch.equal(alone.assignment, first.assignment[20:80])
    torch.testing.assert_close(alone.features[0], first.features[1])


def test_training_draws_another_partition_each_time(graph):
    partitioner = Partitioner(DIM)
    assert not torch.equal(cut(partitioner, graph).assignment, cut(partitioner, graph).assignment)


def test_every_parameter_learns_from_the_features_alone(graph):
    partitioner = Partitioner(DIM)
    partition = cut(partitioner, graph)
    weight = torch.randn_like(partition.features)
    (partition.features * weight).sum().backward()
    for name, parameter in partitioner.named_parameters():
        assert parameter.grad.abs().max() > 1e-6, name


def test_training_moves_substructures_to_residues_that_lower_the_loss(graph):
    """The loss rewards a large first channel, so seeds and members must come to have one."""
    partitioner = Partitioner(DIM, max_clusters=3, cluster_size_max=5)
    h = torch.randn(len(graph.mask), DIM)

    def reward(partition):
        return (partition.features[..., 0] * partition.mask).sum() / partition.mask.sum()

    before = reward(cut(partitioner.eval(), graph, h))
    optimizer = torch.optim.Adam(partitioner.train().parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        (-reward(cut(partitioner, graph, h))).backward()
        optimizer.step()
    assert reward(cut(partitioner.eval(), graph, h)) > before + 0.5


def test_the_gradient_of_a_seed_equals_that_of_the_softmax_mixture(batch_of):
    """If a substructure has only its seed, its gradient is that of the features mixed by the softmax of the scores."""
    graph = featurize(*batch_of(12))
    partitioner = Partitioner(DIM, max_clusters=1, cluster_size_max=1).eval().double()
    with torch.no_grad():
        partitioner.threshold.fill_(1e4)
    h = torch.randn(12, DIM, dtype=torch.float64)
    weight = torch.randn(DIM, dtype=torch.float64)
    score = partitioner.seed.score.weight
    (grad,) = torch.autograd.grad((cut(partitioner, graph, h, tau=0.5).features[0, 0] * weight).sum(), score)

    context = partitioner.context_start(h.mean(0)).tanh()
    scores = partitioner.seed(partitioner.seed.left(h), partitioner.seed.right(context))
    scores = (scores - scores.mean()) / (scores.var(unbiased=False) + 1e-8).sqrt()
    mixture = (scores / 0.5).softmax(0) @ h
    (expected,) = torch.autograd.grad((mixture * weight).sum(), score)
    torch.testing.assert_close(grad, expected)


def test_the_temperature_sharpens_the_choice_and_changes_the_gradient(batch_of):
    graph = featurize(*batch_of(200))
    partitioner = Partitioner(DIM, max_clusters=1)
    h = 3 * torch.randn(200, DIM)

    def seeds(tau):
        drawn = []
        for draw in range(200):
            torch.manual_seed(draw)
            partition = cut(partitioner, graph, h, tau)
            drawn.append(int((partition.membership == 1).nonzero()[0]))
        return len(set(drawn))

    assert seeds(0.02) < 0.5 * seeds(1.0)

    gradients = []
    for tau in (1.0, 0.3):
        partition = cut(partitioner.eval(), graph, h, tau)
        gradients.append(torch.autograd.grad(partition.features.sum(), partitioner.growth.score.weight)[0])
    assert not torch.allclose(*gradients, rtol=0.05)


def test_the_scale_of_the_scores_does_not_change_the_partition(graph):
    """Scores with small differences give the same choices as scores with large differences."""
    partitioner = Partitioner(DIM)
    h = torch.randn(len(graph.mask), DIM)
    torch.manual_seed(1)
    before = cut(partitioner, graph, h, tau=0.5)
    with torch.no_grad():
        for score in (partitioner.seed, partitioner.growth):
            score.score.weight *= 0.02
    torch.manual_seed(1)
    after = cut(partitioner, graph, h, tau=0.5)
    assert torch.equal(after.assignment, before.assignment)
    sizes = torch.bincount(after.assignment[after.assignment >= 0] + 100 * graph.chain[after.assignment >= 0])
    assert 3 < sizes[sizes > 0].float().mean() < 12


def test_a_wider_hop_reaches_further(batch_of):
    coords, ptr = batch_of(150)
    graph = featurize(coords, ptr, num_neighbors=5)
    sizes = []
    for k_hop in (1, 2):
        partitioner = Partitioner(DIM, max_clusters=1, k_hop=k_hop, cluster_size_max=100).eval()
        with torch.no_grad():
            partitioner.threshold.fill_(-1e4)
        sizes.append(int((cut(partitioner, graph).assignment == 0).sum()))
    assert sizes[0] == 6 and sizes[1] > 6


def test_one_batch_can_hold_chains_of_ten_and_three_thousand_residues(batch_of):
    graph = featurize(*batch_of(10, 3000, 40))
    partition = cut(Partitioner(DIM), graph)
    assert partition.mask[1].all() and partition.features.isfinite().all()
