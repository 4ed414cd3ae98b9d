"""Terms of both losses: known values, masks, finite gradients, and accumulation."""

from functools import partial

import pytest
import torch

from partoken.satellite import losses
from tests.satellite.made import make_batch

PAIRS = {
    name: getattr(losses, name)
    for name in (
        "absolute_error",
        "squared_error",
        "structural_dissimilarity",
        "vegetation_index_error",
        "enhanced_vegetation_index_error",
        "spectral_angle_error",
    )
}


def edges_of_radar(predicted, truth, mask):
    return losses.radar_edge_disagreement(predicted, 10 * truth[:, :2] - 15, mask)


def guard(predicted, truth, mask):
    return losses.edge_guard(predicted, truth.roll(3, -1), truth, mask)


TERMS = {**PAIRS, "radar_edge_disagreement": edges_of_radar, "edge_guard": guard}
term = pytest.mark.parametrize("name", TERMS)


def setting(dtype=torch.float64, num_tiles=3):
    batch = make_batch(num_tiles, dtype=dtype)
    noise = torch.randn(batch.s2.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return (batch.s2 + 0.02 * noise).clamp(min=0), batch.s2, batch.s1_mask & batch.s2_mask


@term
@pytest.mark.parametrize("case", ["zero", "equal", "negative", "masked", "one pixel", "bright"])
def test_a_term_and_its_gradient_are_finite(name, case):
    predicted, truth, mask = setting(torch.float32)
    if case == "zero":
        predicted, truth = torch.zeros_like(predicted), torch.zeros_like(truth)
    elif case == "equal":
        predicted = truth.clone()
    elif case == "negative":
        predicted = -predicted
    elif case == "masked":
        mask = torch.zeros_like(mask)
    elif case == "one pixel":
        mask = torch.zeros_like(mask)
        mask[:, 12, 10] = True
    else:
        predicted, truth = predicted + 1.5, truth + 1.2
    predicted.requires_grad_()
    value = TERMS[name](predicted, truth, mask)
    value.backward()
    assert value.ndim == 0 and value.isfinite() and predicted.grad.isfinite().all()
    if case == "masked":
        assert value == 0 and not predicted.grad.any()


@pytest.mark.parametrize("name", PAIRS)
def test_a_perfect_prediction_has_no_loss(name):
    _, truth, mask = setting()
    assert TERMS[name](truth, truth, mask).item() == pytest.approx(0, abs=2e-3)


@term
def test_missing_pixels_have_no_effect_and_no_gradient(name):
    predicted, truth, mask = setting()
    spoilt = torch.where(mask[:, None], predicted, 0.7).requires_grad_()
    value = TERMS[name](spoilt, torch.where(mask[:, None], truth, 0.1) if name != "edge_guard" else truth, mask)
    value.backward()
    assert value.item() == pytest.approx(TERMS[name](predicted, truth, mask).item(), rel=1e-9)
    assert not spoilt.grad.movedim(1, -1)[~mask].any()


@term
def test_accumulating_single_tiles_gives_the_gradient_of_the_large_batch(name):
    predicted, truth, mask = setting()
    mask[0, :, :15] = False  # tiles with different numbers of valid pixels
    large, single = predicted.clone().requires_grad_(), predicted.clone().requires_grad_()
    TERMS[name](large, truth, mask).backward()
    for place in range(3):
        one = slice(place, place + 1)
        (TERMS[name](single[one], truth[one], mask[one]) / 3).backward()
    torch.testing.assert_close(single.grad, large.grad, rtol=1e-12, atol=1e-15)


def test_the_angle_between_orthogonal_spectra_is_a_right_one():
    mask = torch.ones(1, 1, 1, dtype=torch.bool)
    a, b = torch.zeros(1, 4, 1, 1), torch.zeros(1, 4, 1, 1)
    a[:, 0], b[:, 3] = 5.0, 0.5
    assert losses.spectral_angle_error(a, b, mask).item() == pytest.approx(torch.pi / 2, abs=1e-3)


def test_the_vegetation_indices_have_their_formulas():
    mask = torch.ones(1, 1, 1, dtype=torch.bool)
    bands = torch.tensor([0.04, 0.06, 0.05, 0.35]).view(1, 4, 1, 1)
    bare = torch.tensor([0.10, 0.12, 0.15, 0.15]).view(1, 4, 1, 1)  # both indices are 0
    assert losses.vegetation_index_error(bands, bare, mask).item() == pytest.approx(0.3 / 0.4)
    evi = 2.5 * 0.3 / (0.35 + 6 * 0.05 - 7.5 * 0.04 + 1)
    assert losses.enhanced_vegetation_index_error(bands, bare, mask).item() == pytest.approx(evi)


def test_edges_where_the_radar_has_them_cost_nothing_and_elsewhere_they_do():
    predicted, _, mask = setting()
    radar = predicted.mean(1, keepdim=True).expand(-1, 2, -1, -1) * 40 - 18
    agreement = partial(losses.radar_edge_disagreement, s1=radar, mask=mask)
    assert agreement(predicted).item() == pytest.approx(0, abs=1e-6)
    assert agreement(0.5 * predicted + 0.1).item() == pytest.approx(0, abs=1e-6)
    assert agreement(predicted.flip(-1).roll(7, -2)).item() > 0.3


def test_the_edge_guard_allows_edges_of_stage_1_and_of_the_truth_only():
    _, truth, mask = setting()
    flat = torch.full_like(truth, 0.1)
    stripes = flat + 0.1 * (torch.arange(truth.shape[-1]) % 2)
    assert losses.edge_guard(truth, flat, truth, mask) == 0
    assert losses.edge_guard(truth, truth, flat, mask) == 0
    steps = flat + 0.1 * (torch.arange(truth.shape[-1]) // 2 % 2)
    assert losses.edge_guard(steps, flat, flat, mask) > 0.01
    assert losses.edge_guard(flat, stripes, steps, mask) == 0


def test_the_adversarial_losses_are_hinges():
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert losses.discriminator_loss(real, made).item() == pytest.approx(0.25 + 0.5)
    assert losses.generator_loss(made).item() == pytest.approx(1.5)
