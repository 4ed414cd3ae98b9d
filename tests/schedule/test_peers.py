"""Segments against the published schedules of other libraries: each formula is written here on its own.

torch itself runs here too. The formulas of transformers 5.24 were compared with the package; those of torchtitan,
OLMo-core, levanter and Composer are as in their sources, those of timm and optax as documented. Where ours differs by
convention, the list says how to meet it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from partoken.schedule import segments

W, T, D, M, LR = 37, 301, 60, 0.1, 2e-3
"""Warm-up, total and decay in steps, minimum as a share of the peak, and the peak."""

PAST = 20
"""Steps past the end that are compared if the library holds its last rate there."""


@dataclass
class Peer:
    """A schedule of a library: its formula, its name, and our segments for the same rates."""

    name: str
    formula: Callable[[int], float]
    """Step to share of the peak."""
    ours: list[dict[str, Any]]
    total: int = T
    holds: bool = True
    """False: the library goes on past the end, and ours holds there."""


def line(length, to, **keys):
    return {"length": length, "shape": "linear", "to": to, **keys}


def shaped(shape, length="rest", **keys):
    return {"length": length, "shape": shape, **keys}


def cosine(p):
    return 0.5 * (1 + math.cos(math.pi * p))


def warm(t, warmup=W):
    return t / warmup


def capped(t, end=T):
    return min(t, end)


def after(t, begins=W, ends=T):
    return min(1.0, (t - begins) / (ends - begins))


WARM = line(W, 1)
FLAT = shaped("constant")


def torchtitan(decay):
    stable = T - D

    def factor(t):
        if t < W:
            return (t + 1) / (W + 1)
        return 1.0 if t < stable else M + (1 - M) * decay((t + 1 - stable) / (D + 1))

    return factor


def titan(shape):
    return [line(W, 1, **{"from": 1 / (W + 1)}), FLAT, shaped(shape, D + 1, to=M)]


def wsd(warmup, decay, lowest=M):
    def factor(t):
        if t < W:
            return lowest + (1 - lowest) * warmup(t / W)
        return 1.0 if t < T - D else lowest + (1 - lowest) * decay(min(1.0, (t - T + D) / D))

    return factor


def restarts(t, first, growth):
    length = first
    while t >= length:
        t, length = t - length, length * growth
    return cosine(t / length)


def olmo_cosine_then_linear(t):
    def cut(t):
        return M + (1 - M) * cosine((t - W) / (T - W))

    if t < W:
        return t / W
    return cut(t) if t < T - D else cut(T - D) * max(0, T - t) / D


def levanter(t, timescale=80):
    return t / W if t < W else max(M, min(1.0, 1 / math.sqrt(max(t, 1) / timescale)))


def one_cycle(t, rise, fall, start, end):
    if t < rise:
        return start + (1 - start) * (1 - cosine(t / rise))
    return end + (1 - end) * cosine(min(1.0, (t - rise) / (fall - rise)))


PEERS = [
    Peer(
        "transformers linear",
        lambda t: warm(t) if t < W else max(0.0, (T - t) / (T - W)),
        [WARM, line("rest", 0)],
    ),
    Peer("transformers constant_with_warmup", lambda t: min(1.0, t / W), [WARM, FLAT]),
    Peer(
        "transformers cosine, num_cycles=1.5, min_lr_rate",
        lambda t: warm(t) if t < W else M + (1 - M) * 0.5 * (1 + math.cos(math.pi * 3 * (t - W) / (T - W))),
        [WARM, shaped("cosine", to=M, cycles=1.5)],
        holds=False,
    ),
    Peer(
        "transformers cosine_with_restarts",
        lambda t: warm(t) if t < W else 0.0 if t >= T else cosine(3 * (t - W) / (T - W) % 1),
        [WARM, shaped("cosine", **{"from": 1}, to=0, repeat=3)],
    ),
    Peer(
        "transformers polynomial, power=2, lr_end",
        lambda t: warm(t) if t < W else 1e-7 / LR if t > T else ((LR - 1e-7) * (1 - after(t)) ** 2 + 1e-7) / LR,
        [WARM, shaped("polynomial", to_lr=1e-7, power=2)],
    ),
    Peer(
        "transformers inverse_sqrt",
        lambda t: warm(t) if t < W else 1 / math.sqrt(t / W),
        [WARM, shaped("inverse_sqrt")],
        holds=False,
    ),
    Peer(
        "transformers inverse_sqrt, timescale=50",
        lambda t: warm(t) if t < W else 1 / math.sqrt((t + 50 - W) / 50),
        [WARM, shaped("inverse_sqrt", to=math.sqrt(50 / (50 + T - W)))],
        holds=False,
    ),
    Peer(
        "transformers cosine_warmup_with_min_lr, a step ahead",
        lambda t: (t + 1) / W if t < W else M + (1 - M) * cosine((t - W + 1) / (T - W)),
        [line(W - 1, 1, **{"from": 1 / W}), shaped("cosine", to=M), shaped("constant", 1)],
        holds=False,
    ),
    Peer(
        "transformers warmup_stable_decay, linear",
        wsd(lambda p: p, lambda p: 1 - p),
        [line(W, 1, **{"from": M}), FLAT, line(D, M)],
    ),
    Peer(
        "transformers warmup_stable_decay, cosine",
        wsd(lambda p: 1 - cosine(p), cosine),
        [shaped("cosine", W, **{"from": M}, to=1), FLAT, shaped("cosine", D, to=M)],
    ),
    Peer(
        "transformers warmup_stable_decay, 1-sqrt",
        wsd(lambda p: 1 - math.sqrt(1 - p), lambda p: 1 - math.sqrt(p)),
        [shaped("sqrt", W, **{"from": M}, to=1), FLAT, shaped("1-sqrt", D, to=M)],
    ),
    Peer(
        "timm CosineLRScheduler, warmup_prefix, warmup_lr_init",
        lambda t: M / 2 + t * (1 - M / 2) / W if t < W else M + 0.5 * (1 - M) * (1 + math.cos(math.pi * after(t))),
        [line(W, 1, **{"from": M / 2}), shaped("cosine", to=M)],
    ),
    Peer(
        "timm CosineLRScheduler, cycle_limit=2, cycle_mul=2, cycle_decay=0.5",
        lambda t: cosine(t / 100) if t < 100 else 0.5 * cosine(min(1.0, (t - 100) / 200)),
        [shaped("cosine", 100, to=0), shaped("cosine", 200, **{"from": 0.5}, to=0)],
        total=300,
    ),
    Peer(
        "timm StepLRScheduler",
        lambda t: 0.5 ** (t // 100),
        [shaped("constant", 100), shaped("constant", 100, to=0.5), shaped("constant", 100, to=0.25)],
        total=300,
        holds=False,
    ),
    Peer(
        "timm PolyLRScheduler, power=0.5, warmup_prefix",
        lambda t: warm(t) if t < W else M + (1 - M) * (1 - after(t)) ** 0.5,
        [WARM, shaped("sqrt", to=M)],
    ),
    Peer(
        "optax warmup_cosine_decay_schedule: decay_steps with the warm-up",
        lambda t: 0.01 + 0.99 * t / W if t < W else (1 - M) * cosine(after(t)) + M,
        [line(W, 1, **{"from": 0.01}), shaped("cosine", to=M)],
    ),
    Peer(
        "optax warmup_exponential_decay_schedule",
        lambda t: warm(t) if t < W else 0.96 ** ((t - W) / 10),
        [WARM, shaped("exponential", to=0.96 ** ((T - W) / 10))],
        holds=False,
    ),
    Peer(
        "optax polynomial_schedule",
        lambda t: (1 - M) * (1 - capped(t) / T) ** 3 + M,
        [shaped("polynomial", to=M, power=3)],
    ),
    Peer(
        "optax cosine_onecycle_schedule: ends at peak / (div_factor * final_div_factor)",
        lambda t: one_cycle(t, 90, 300, 1 / 25, 1 / (25 * 1e4)),
        [shaped("cosine", "30%", **{"from": 1 / 25}, to=1), shaped("cosine", to=1 / (25 * 1e4))],
        total=300,
    ),
    Peer(
        "optax sgdr_schedule, two warm restarts",
        lambda t: (
            warm(t, 10)
            if t < 10
            else cosine((t - 10) / 90)
            if t < 100
            else 0.5 * (t - 100) / 10
            if t < 110
            else 0.5 * cosine(min(1.0, (t - 110) / 90))
        ),
        [line(10, 1), shaped("cosine", 90, to=0), line(10, 0.5), shaped("cosine", to=0)],
        total=200,
    ),
    Peer("torchtitan linear", torchtitan(lambda p: 1 - p), titan("linear"), holds=False),
    Peer("torchtitan sqrt, which is 1-sqrt", torchtitan(lambda p: 1 - math.sqrt(p)), titan("1-sqrt"), holds=False),
    Peer("torchtitan cosine", torchtitan(cosine), titan("cosine"), holds=False),
    Peer(
        "OLMo-core WSD",
        lambda t: 0.01 + 0.99 * t / W if t <= W else M + (1 - M) * min(max(0, T - t), D) / D,
        [line(W, 1, **{"from": 0.01}), FLAT, line(D, M)],
    ),
    Peer(
        "OLMo-core LinearWithWarmup",
        lambda t: warm(t) if t < W else 1 - (1 - M) * after(t),
        [WARM, line("rest", M)],
    ),
    Peer(
        "OLMo-core CosWithWarmup",
        lambda t: warm(t) if t < W else M + (1 - M) * cosine(after(t)),
        [WARM, shaped("cosine", to=M)],
    ),
    Peer(
        "OLMo-core CosWithWarmupAndLinearDecay: a cosine that is cut short",
        olmo_cosine_then_linear,
        [WARM, shaped("cosine", to=M, cycles=0.5 * (T - D - W) / (T - W)), line(D, 0)],
    ),
    Peer(
        "OLMo-core InvSqrtWithWarmup, alpha_f=0",
        lambda t: warm(t) if t < W else math.sqrt(W / t),
        [WARM, shaped("inverse_sqrt")],
        holds=False,
    ),
    Peer(
        "levanter linear, stable, cooldown",
        lambda t: warm(t) if t < W else 1.0 if t < 100 else 1 - (1 - 0.5) * min(1.0, (t - 100) / (T - 100)),
        [WARM, shaped("constant", 100 - W), line("rest", 0.5)],
    ),
    Peer(
        "levanter inv_sqrt: constant until the timescale",
        levanter,
        [WARM, shaped("constant", 80 - W), shaped("inverse_sqrt")],
        holds=False,
    ),
    Peer(
        "Composer LinearWithWarmupScheduler, alpha_f",
        lambda t: warm(t) if t < W else 1 + after(t) * (M - 1),
        [WARM, line("rest", M)],
    ),
    Peer(
        "Composer CosineAnnealingWithWarmupScheduler: t_max with the warm-up",
        lambda t: warm(t) if t < W else M + (1 - M) * (1 + math.cos(math.pi * after(t))) / 2,
        [WARM, shaped("cosine", to=M)],
    ),
    Peer(
        "Composer CosineAnnealingWarmRestartsScheduler",
        lambda t: M + (1 - M) * restarts(t, 10, 2),
        [shaped("cosine", **{"from": 1}, to=M, repeat=4, growth=2)],
        total=150,
        holds=False,
    ),
    Peer(
        "Composer MultiStepWithWarmupScheduler",
        lambda t: warm(t) if t < W else 0.1 ** ((t >= 100) + (t >= 200)),
        [WARM, shaped("constant", 100 - W), shaped("constant", 100, to=0.1), shaped("constant", to=0.1**2)],
    ),
    Peer(
        "Composer ExponentialScheduler, a step of each 10",
        lambda t: 0.9 ** (t / 10),
        [shaped("exponential", to=0.9 ** (T / 10))],
        holds=False,
    ),
]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_segments_are_the_schedule_of_another_library(peer):
    curve = segments(peer.ours, peer.total)
    steps = range(peer.total + PAST if peer.holds else peer.total)
    found = curve.factor(np.array(steps), base=LR)
    assert np.abs(found - [peer.formula(t) for t in steps]).max() <= 1e-12
    assert [curve.factor(t, base=LR) for t in steps] == pytest.approx(found, abs=1e-15)


TORCH = [
    (
        "LinearLR",
        lambda o: lr_scheduler.LinearLR(o, 0.25, 0.75, 40),
        [line(40, 0.75, **{"from": 0.25}), FLAT],
    ),
    ("ConstantLR", lambda o: lr_scheduler.ConstantLR(o, 0.25, 40), [shaped("constant", 40, to=0.25), FLAT | {"to": 1}]),
    ("ExponentialLR", lambda o: lr_scheduler.ExponentialLR(o, 0.99), [shaped("exponential", to=0.99**100)]),
    ("PolynomialLR", lambda o: lr_scheduler.PolynomialLR(o, 80, 2.0), [shaped("polynomial", 80, to=0, power=2), FLAT]),
    (
        "CosineAnnealingLR",
        lambda o: lr_scheduler.CosineAnnealingLR(o, 100, LR * M),
        [shaped("cosine", to_lr=LR * M)],
    ),
    (
        "CosineAnnealingWarmRestarts",
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 20, 4, LR * M),
        [shaped("cosine", **{"from": 1}, to=M, repeat=2, growth=4)],
    ),
    (
        "MultiStepLR",
        lambda o: lr_scheduler.MultiStepLR(o, [30, 60], 0.1),
        [shaped("constant", 30), shaped("constant", 30, to=0.1), shaped("constant", to=0.1**2)],
    ),
    (
        "CyclicLR",
        lambda o: lr_scheduler.CyclicLR(o, LR * M, LR, 20, 30, cycle_momentum=False),
        [line(20, 1, **{"from": M}), line(30, M), line(20, 1), line(30, M)],
    ),
    (
        "OneCycleLR, whose peak is at 0.3 * total_steps - 1",
        lambda o: lr_scheduler.OneCycleLR(o, LR, 101, pct_start=31 / 101, cycle_momentum=False),
        [shaped("cosine", 30, **{"from": 1 / 25}, to=1), shaped("cosine", to=1 / (25 * 1e4))],
    ),
    (
        "OneCycleLR, three_phase, linear",
        lambda o: lr_scheduler.OneCycleLR(
            o, LR, 101, pct_start=31 / 101, anneal_strategy="linear", three_phase=True, cycle_momentum=False
        ),
        [line(30, 1, **{"from": 1 / 25}), line(30, 1 / 25), line("rest", 1 / (25 * 1e4))],
    ),
    (
        "SequentialLR of LinearLR and CosineAnnealingLR",
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 20), lr_scheduler.CosineAnnealingLR(o, 80)], [20]
        ),
        [line(20, 1, **{"from": 0.1}), shaped("cosine", to=0)],
    ),
]


@pytest.mark.parametrize(("make", "ours"), [row[1:] for row in TORCH], ids=[name for name, *_ in TORCH])
@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # SequentialLR calls torch's own old form
def test_segments_are_the_schedule_of_torch(make, ours):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler, rates = make(optimizer), []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    found = segments(ours, 100).rate(np.arange(100), LR)
    assert np.abs(found - rates).max() <= 1e-12 * LR
