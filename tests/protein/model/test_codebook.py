"""The codebook: nearest codes, learning, freezing, and the two usage losses."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from partoken.protein.model.codebook import Codebook


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def started(codes, **options):
    """Creates a codebook with given codes `[C, dim]`."""
    codebook = Codebook(*codes.shape, **options)
    codebook.codes.copy_(codes)
    codebook.started.fill_(True)
    return codebook


def everything(z):
    """Creates a mask without any gap, `[B, K]`."""
    return torch.ones(z.shape[:-1], dtype=torch.bool)


def test_each_vector_gets_its_nearest_code_and_a_masked_vector_gets_none():
    codebook = started(torch.randn(20, 6)).eval()
    z = torch.randn(3, 5, 6)
    mask = torch.rand(3, 5) < 0.6
    quantized = codebook(z, mask)
    nearest = torch.cdist(z.double(), codebook.codes.double()[None]).argmin(-1)
    assert torch.equal(quantized.codes, nearest.masked_fill(~mask, -1))
    torch.testing.assert_close(quantized.vectors, codebook.codes[nearest] * mask[..., None])


def test_the_gradient_passes_straight_through_and_the_commitment_pulls_a_vector_to_its_code():
    codebook = started(torch.randn(20, 6)).eval()
    z = torch.randn(2, 4, 6, requires_grad=True)
    mask = torch.tensor([[True, True, False, True], [True, False, True, True]])
    quantized = codebook(z, mask)
    weight = torch.randn(2, 4, 6)
    (grad,) = torch.autograd.grad((quantized.vectors * weight).sum(), z, retain_graph=True)
    torch.testing.assert_close(grad, weight * mask[..., None])
    (grad,) = torch.autograd.grad(quantized.commitment, z)
    expected = 2 * (z.detach() - codebook.codes[quantized.codes.clamp(min=0)]) * mask[..., None] / (6 * 6)
    torch.testing.assert_close(grad, expected)


def test_one_update_moves_a_used_code_to_the_moving_average_of_its_vectors():
    """Van den Oord et al. 2017, equations 6 to 8, with the sums written as code times weight."""
    codes = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 30.0]])
    codebook = started(torch.tensor(codes, dtype=torch.float32), decay=0.9)
    codebook.updates.fill_(10_000)
    codebook.usage.copy_(torch.tensor([4.0, 2.0, 1.0]))
    raw = np.array([[7.0, 1.0], [8.0, 3.0], [14.0, 0.0], [50.0, 50.0]])  # the last is masked
    z = (raw[:3] - raw[:3].mean(0)) / raw[:3].std(0)
    codebook(torch.tensor(raw[None], dtype=torch.float32), torch.tensor([[True, True, True, False]]))
    usage = np.array([0.9 * 4 + 0.1 * 2, 0.9 * 2 + 0.1 * 1, 0.9 * 1])
    sums = 0.9 * codes * [[4], [2], [1]] + 0.1 * np.array([z[0] + z[1], z[2], [0, 0]])
    np.testing.assert_allclose(codebook.usage, usage, rtol=1e-6)
    np.testing.assert_allclose(codebook.codes, sums / usage[:, None], rtol=1e-5)
    np.testing.assert_allclose(codebook.mean, 0.1 * raw[:3].mean(0), rtol=1e-6)
    np.testing.assert_allclose(codebook.variance, 0.9 + 0.1 * raw[:3].var(0), rtol=1e-6)


def test_fault_4_after_two_thousand_updates_with_few_codes_in_use_none_has_collapsed():
    codebook = Codebook(64, 8)
    centres = torch.randn(3, 8) * 3
    for _ in range(2000):
        z = centres[torch.randint(3, (10, 12))] + 0.1 * torch.randn(10, 12, 8)
        codebook(z, everything(z))
    assert codebook.codes.isfinite().all()
    # Every code, used or not, lies close to a cluster of substructures.
    places = (centres - codebook.mean) / codebook.variance.sqrt()
    assert torch.cdist(codebook.codes, places).min(1).values.max() < 1.0


def test_a_vector_of_the_batch_replaces_a_dead_code():
    codes = torch.tensor([[0.0, 0.0], [1000.0, 1000.0]])
    codebook = started(codes, decay=0.5)
    for _ in range(20):
        z = torch.randn(1, 10, 2)
        codebook(z, everything(z))
    assert codebook.codes.norm(dim=1).max() < 10


@pytest.mark.parametrize("mode", ["frozen", "eval"])
def test_nothing_changes_when_frozen_or_in_evaluation(mode):
    codebook = Codebook(16, 4)
    z = torch.randn(4, 5, 4)
    codebook(z, everything(z))
    codebook.frozen = mode == "frozen"
    codebook.train(mode != "eval")
    before = copy.deepcopy(codebook.state_dict())
    for _ in range(300):
        z = torch.randn(4, 5, 4) + 5
        codebook(z, everything(z))
    for name, value in codebook.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_evaluation_standardises_by_running_averages_not_by_the_batch():
    codebook = Codebook(16, 4)
    scale, shift = torch.tensor([0.01, 1.0, 5.0, 2.0]), torch.tensor([100.0, -3.0, 0.0, 8.0])
    for _ in range(200):
        z = torch.randn(4, 25, 4) * scale + shift
        codebook(z, everything(z))
    torch.testing.assert_close(codebook.mean, shift, atol=0.5, rtol=0)
    torch.testing.assert_close(codebook.variance.sqrt()[1:], scale[1:], atol=0, rtol=0.2)
    codebook.train(False)
    alone, together = codebook(z[:1, :1], everything(z[:1, :1])), codebook(z, everything(z))
    assert torch.equal(alone.vectors[0, 0], together.vectors[0, 0])
    standard = (z - codebook.mean) / codebook.variance.sqrt()
    torch.testing.assert_close(together.standardised[..., 1:], standard[..., 1:])
    # The codes spread over every channel that varies, at any scale.
    assert (codebook.codes.std(0)[1:] > 0.3).all()


def test_vectors_that_drift_together_still_use_different_codes():
    """Early in training the common part of the vectors moves faster than their differences grow."""
    codebook = Codebook(16, 4)
    for step in range(100):
        quantized = codebook(torch.randn(4, 25, 4) + step, everything(torch.zeros(4, 25, 4)))
    torch.testing.assert_close(quantized.standardised.flatten(0, 1).std(0), torch.ones(4), atol=0.02, rtol=0)
    assert len(quantized.codes.unique()) > 12


def test_the_commitment_does_not_shrink_the_vectors():
    """The vectors are standardised later, so nothing else keeps their scale: they would all become equal."""
    codebook = Codebook(16, 4)
    network = torch.nn.Linear(4, 4)
    torch.nn.init.eye_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    for _ in range(300):
        z = network(torch.randn(4, 25, 4))
        optimizer.zero_grad()
        codebook(z, everything(z)).commitment.backward()
        optimizer.step()
    assert z.detach().flatten(0, 1).std(0).min() > 0.7


def test_an_empty_batch_changes_no_code_and_has_no_loss():
    codebook = started(torch.randn(8, 4))
    before = codebook.codes.clone(), codebook.usage.clone()
    quantized = codebook(torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert torch.equal(codebook.codes, before[0]) and torch.equal(codebook.usage, before[1])
    assert quantized.commitment == 0 and quantized.entropy == 0 and quantized.coverage == 0


def test_the_first_training_batch_starts_the_codes_by_k_means():
    centres = torch.randn(6, 5) * 10
    z = (centres[torch.arange(60) % 6] + 0.01 * torch.randn(60, 5)).view(4, 15, 5)
    codebook = Codebook(6, 5)
    codebook(z, everything(z))
    assert codebook.started
    standard = (z - z.mean((0, 1))) / z.std((0, 1), unbiased=False)
    drawn = standard.flatten(0, 1)[torch.randperm(60)[:6]]
    ours, random = (
        torch.cdist(standard.flatten(0, 1), codes).min(1).values.square().mean() for codes in (codebook.codes, drawn)
    )
    assert ours < 0.8 * random or ours < 0.1


def test_a_start_on_fewer_vectors_than_codes_gives_distinct_codes():
    codebook = Codebook(50, 4)
    codebook.start(torch.randn(7, 4))
    assert len(codebook.codes.unique(dim=0)) == 50


def test_the_start_depends_on_the_seed_alone():
    z = torch.randn(100, 4)
    codes = []
    for _ in range(2):
        torch.manual_seed(7)
        codebook = Codebook(10, 4)
        codebook.start(z)
        codes.append(codebook.codes)
    assert torch.equal(*codes)


def test_entropy_and_coverage_follow_their_formulas():
    temperature, dim = 0.3, 4
    codebook = started(torch.randn(5, dim), temperature=temperature).eval()
    z = torch.randn(2, 3, dim)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    quantized = codebook(z, mask)
    codes, vectors = codebook.codes.numpy().astype(float), z.numpy().astype(float)
    variance = codes.var(0).mean()
    square = ((vectors[:, :, None] - codes) ** 2).sum(-1)
    q = np.exp(-square / (2 * temperature * variance * math.sqrt(dim)))
    q /= q.sum(-1, keepdims=True)
    mean = q[mask.numpy()].mean(0)
    np.testing.assert_allclose(quantized.entropy, math.log(5) + (mean * np.log(mean)).sum(), rtol=1e-4)
    cover = [(1 - np.prod(1 - q[b, :n], 0)).sum() / n for b, n in ((0, 3), (1, 2))]
    np.testing.assert_allclose(quantized.coverage, 1 - np.mean(cover), rtol=1e-4)


def test_entropy_and_coverage_have_a_gradient_that_lowers_them():
    codebook = started(torch.randn(30, 8)).eval()
    for name in ("entropy", "coverage"):
        z = (0.5 * torch.randn(1, 8) + 0.2 * torch.randn(3, 4, 8)).requires_grad_()
        mask = everything(z)
        before = getattr(codebook(z, mask), name)
        (grad,) = torch.autograd.grad(before, z)
        assert grad.norm() > 0
        after = getattr(codebook(z.detach() - 0.05 * grad / grad.norm(), mask), name)
        assert after < before


def test_cosine_codes_have_one_length_and_ignore_the_length_of_the_vectors():
    codebook = Codebook(12, 6, distance="cosine")
    for _ in range(5):
        z = torch.randn(4, 10, 6)
        codebook(z, everything(z))
    torch.testing.assert_close(codebook.codes.norm(dim=1), torch.full((12,), 6**0.5))
    codebook = started(codebook.codes, distance="cosine").eval()
    assert torch.equal(codebook(z, everything(z)).codes, codebook(9 * z, everything(z)).codes)
    plain = torch.nn.functional.cosine_similarity(z[..., None, :], codebook.codes, dim=-1).argmax(-1)
    assert torch.equal(codebook(z, everything(z)).codes, plain)


def test_codes_are_exact_under_mixed_precision():
    codebook = started(torch.randn(20, 16)).eval()
    z = torch.randn(2, 5, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = codebook(z, everything(z))
    assert torch.equal(mixed.codes, codebook(z, everything(z)).codes)
    assert mixed.vectors.dtype == torch.float32


def test_a_restored_codebook_continues_to_the_bit():
    codebook = Codebook(16, 4)
    z = torch.randn(4, 5, 4)
    codebook(z, everything(z))
    other = Codebook(16, 4)
    other.load_state_dict(codebook.state_dict())
    torch.manual_seed(1)
    codebook(z, everything(z))
    torch.manual_seed(1)
    other(z, everything(z))
    for name, value in codebook.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def _two_processes(rank, path, results):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    torch.manual_seed(rank)
    codebook = Codebook(16, 4, decay=0.5)
    for _ in range(30):
        z = torch.randn(2, 5, 4) + 4 * rank
        codebook(z, everything(z))
    results[rank] = {name: value.clone() for name, value in codebook.state_dict().items()}
    dist.destroy_process_group()


def test_two_processes_hold_the_same_codes_learned_from_both(tmp_path):
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_two_processes, (tmp_path / "store", results), nprocs=2)
        first, second = dict(results)[0], dict(results)[1]
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert ((first["mean"] > 1.5) & (first["mean"] < 2.5)).all()
    assert first["codes"].mean(1).min() < -0.5 and first["codes"].mean(1).max() > 0.5
