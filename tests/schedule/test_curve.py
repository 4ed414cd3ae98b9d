"""The curve against both documents' formulas, written out here on their own, and against torch and other libraries."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from partoken.schedule import ScheduleError, WarmupCosine
from partoken.schedule.plot import FAMILIES

lengths = st.integers(1, 400).flatmap(lambda total: st.tuples(st.integers(0, total - 1), st.just(total)))


def partoken_document(epoch, warmup, total):
    if epoch < warmup:
        return max(1e-06, epoch / max(1, warmup))
    return 0.5 * (1.0 + math.cos(math.pi * (epoch - warmup) / max(1, total - warmup)))


def axion_sat_document(step, warmup, total, base, eta_min):
    if step < warmup:
        return base * (step / warmup)
    return eta_min + (base - eta_min) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@settings(deadline=None)
@given(lengths)
def test_the_curve_is_the_one_of_the_partoken_document(length):
    curve = WarmupCosine(*length, warmup_floor=1e-6)
    for epoch in range(length[1] + 1):
        assert curve.factor(epoch) == pytest.approx(partoken_document(epoch, *length), abs=1e-15)


@settings(deadline=None)
@given(lengths, st.floats(1e-6, 1.0), st.floats(0, 1))
def test_the_curve_is_the_one_of_the_axion_sat_document(length, base, share):
    curve, eta_min = WarmupCosine(*length), base * share
    for step in range(length[1] + 1):
        assert curve.rate(step, base, eta_min) == pytest.approx(
            axion_sat_document(step, *length, base, eta_min), abs=1e-14 * base
        )


def test_the_corners_are_exact():
    curve = WarmupCosine(37, 301)
    assert curve.rate(0, 0.3, 1e-3) == 0.0  # the warm-up begins at 0, below the minimum
    assert curve.rate(37, 0.3, 1e-3) == 0.3
    assert curve.rate(301, 0.25, 0.125) == 0.125
    assert curve.rate(301, 0.3) == 0.0


@settings(deadline=None)
@given(lengths, st.floats(0, 1), st.floats(-1e9, 1e9), st.floats(0, 1e9), st.sampled_from([0.5, 1.5, 2.5]))
def test_the_curve_stays_within_its_bounds_and_never_rises_past_the_end(length, minimum, time, beyond, cycles):
    curve = WarmupCosine(*length, num_cycles=cycles)
    assert 0 <= curve.factor(time, minimum) <= 1
    assert curve.factor(length[1] + beyond, minimum) == curve.factor(length[1], minimum) == pytest.approx(minimum)
    assert curve.factor(-beyond, minimum) == curve.factor(0, minimum)


@settings(deadline=None)
@given(lengths, st.floats(0, 1))
def test_the_curve_rises_then_falls(length, minimum):
    warmup, total = length
    values = [WarmupCosine(warmup, total).factor(t, minimum) for t in range(total + 1)]
    assert all(a < b for a, b in pairwise(values[:warmup]))
    assert all(a >= b for a, b in pairwise(values[warmup:]))


@settings(deadline=None)
@given(lengths, st.floats(1e-3, 1), st.floats(0, 1))
def test_the_curve_equals_torch_in_warm_up_and_after(length, base, share):
    warmup, total = length
    curve, eta_min = WarmupCosine(warmup, total), base * share

    def applied(scheduler, count):
        for _ in range(count):
            yield scheduler.optimizer.param_groups[0]["lr"]
            scheduler.optimizer.step()
            scheduler.step()

    def optimizer():
        return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)

    cosine = CosineAnnealingLR(optimizer(), total - warmup, eta_min)
    for t, rate in enumerate(applied(cosine, total - warmup)):
        assert curve.rate(warmup + t, base, eta_min) == pytest.approx(rate, abs=1e-11 * base)  # torch's is recursive
    if warmup:
        linear = LinearLR(optimizer(), start_factor=1e-12, total_iters=warmup)  # torch allows no 0
        for t, rate in enumerate(applied(linear, warmup)):
            assert curve.rate(t, base, eta_min) == pytest.approx(rate, abs=1e-11 * base)


# Printed by the libraries themselves, for 37 steps of warm-up in 301: transformers 5.23.0
# (`_get_cosine_schedule_with_warmup_lr_lambda`) and timm 1.0.31 (`CosineLRScheduler` with
# t_initial=264, warmup_t=37, warmup_prefix=True, lr_min=0.01).
STEPS = [0, 1, 36, 37, 38, 100, 169, 200, 300, 301]
TRANSFORMERS = [
    *[0.0, 0.02702702702702703, 0.972972972972973, 1.0, 0.9999645980833454],
    *[0.8659472610908627, 0.5, 0.3197055756487752, 3.540191665457604e-05, 0.0],
]
TIMM = [
    *[0.0, 0.02702702702702703, 0.972972972972973, 1.0, 0.9999649521025119],
    *[0.8672877884799541, 0.505, 0.3265085198922876, 0.01003504789748803, 0.01],
]


def test_the_curve_equals_transformers_and_timm():
    curve = WarmupCosine(37, 301)
    assert [curve.factor(t) for t in STEPS] == pytest.approx(TRANSFORMERS, abs=1e-15)
    assert [curve.factor(t, 0.01) for t in STEPS] == pytest.approx(TIMM, abs=1e-15)
    assert curve.factor(309, 0.01) == 0.01  # timm holds as well


def test_the_waves_are_those_of_transformers():
    # transformers 5.23.0, 4 steps of warm-up in 10, num_cycles=1.5
    expected = [0.0, 0.25, 0.5, 0.75, 1.0, 0.5, 0.0, 0.5, 1.0, 0.5, 0.0]
    assert [WarmupCosine(4, 10, num_cycles=1.5).factor(t) for t in range(11)] == pytest.approx(expected, abs=1e-15)


def test_the_curves_of_other_libraries_are_as_they_compute_them():
    # 4 steps of warm-up in 10. transformers 5.23.0 and timm 1.0.31 printed theirs; the rest follow from their sources.
    third, sixth = 0.9330127018922194, 0.06698729810778065
    falling = [1.0, third, 0.75, 0.5, 0.25, sixth, 0.0]
    expected = {
        "partoken, optax, Composer": [0.0, 0.25, 0.5, 0.75, *falling, 0.0, 0.0],
        "transformers, cosine": [0.0, 0.25, 0.5, 0.75, *falling, sixth, 0.25],
        "torchtitan": [0.25, 0.5, 0.75, 1.0, *falling, sixth, 0.25],
        "nanoGPT, NeMo": [0.2, 0.4, 0.6, 0.8, *falling, 0.0, 0.0],
        "transformers, warm-up and min lr": [0.25, 0.5, 0.75, *falling, sixth, 0.25, 0.5],
        "timm, by default": [
            *[0.0, 0.25, 0.5, 0.75, 0.6545084971874737, 0.5, 0.34549150281252633, 0.2061073738537635],
            *[0.09549150281252633, 0.024471741852423234, 0.0, 0.0, 0.0],
        ],
    }
    assert expected.keys() == FAMILIES.keys()
    for name, values in expected.items():
        _, family = FAMILIES[name]
        assert [family(WarmupCosine(4, 10), t) for t in range(13)] == pytest.approx(values, abs=1e-12), name


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"warmup": -1, "total": 10}, "warmup=-1"),
        ({"warmup": 10, "total": 10}, "warmup=10.*total=10"),
        ({"warmup": 0, "total": 0}, "total=0"),
        ({"warmup": 0, "total": math.inf}, "total=inf"),
        ({"warmup": math.nan, "total": 10}, "warmup=nan"),
        ({"warmup": "1", "total": 10}, "warmup='1'"),
        ({"warmup": True, "total": 10}, "warmup=True"),
        ({"warmup": 1, "total": 10, "num_cycles": 0}, "num_cycles"),
        ({"warmup": 1, "total": 10, "warmup_floor": 2}, "warmup_floor"),
    ],
)
def test_an_impossible_curve_is_rejected(arguments, named):
    with pytest.raises(ScheduleError, match=named):
        WarmupCosine(**arguments)


def test_curves_are_equal_if_their_numbers_are():
    assert WarmupCosine(1, 10) == WarmupCosine(1, 10) != WarmupCosine(1, 11)
    with pytest.raises(AttributeError):
        WarmupCosine(1, 10).total = 11
