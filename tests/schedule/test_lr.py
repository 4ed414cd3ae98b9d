"""The schedulers: groups, state, continuation, and what torch would get wrong in silence."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import LambdaLR

from partoken.schedule import (
    CosineAnnealingWarmupEpochLR,
    CosineAnnealingWarmupLR,
    Plan,
    PlanLR,
    ScheduleError,
    WarmupCosine,
    get_cosine_schedule_with_warmup,
    segments,
)

TOTAL = 12
CLASSES = {
    CosineAnnealingWarmupLR: {"warmup_steps": 3, "total_steps": TOTAL},
    CosineAnnealingWarmupEpochLR: {"warmup_epochs": 3, "total_epochs": TOTAL},
}
both = pytest.mark.parametrize("cls", CLASSES)


def expected(step, base, warmup=3, total=TOTAL, eta_min=0.0):
    if step < warmup:
        return base * step / warmup
    return eta_min + (base - eta_min) * 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / (total - warmup))))


def optimizer(*bases, cls=torch.optim.SGD):
    return cls([{"params": [torch.zeros(2, requires_grad=True)], "lr": base} for base in bases or (0.1,)])


def advance(scheduler, steps):
    """Returns the rates of every group before each step."""
    seen = []
    for _ in range(steps):
        seen.append([float(group["lr"]) for group in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        scheduler.step()
    return seen


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@both
def test_every_group_follows_its_own_peak(cls):
    bases = (1e-3, 3e-2, 2e-6)
    seen = advance(cls(optimizer(*bases, cls=torch.optim.AdamW), **CLASSES[cls], eta_min=1e-6), TOTAL + 5)
    for step, rates in enumerate(seen):
        assert rates == pytest.approx([expected(step, base, eta_min=1e-6) for base in bases], rel=1e-12, abs=1e-20)


@both
@pytest.mark.parametrize("stop", range(TOTAL + 3))
def test_a_run_stopped_after_any_step_continues_with_the_same_rates(cls, stop):
    whole = advance(cls(optimizer(0.1, 0.02), **CLASSES[cls], eta_min=1e-4), TOTAL + 5)
    first = cls(optimizer(0.1, 0.02), **CLASSES[cls], eta_min=1e-4)
    seen = advance(first, stop)
    saved = through_a_file({"optimizer": first.optimizer.state_dict(), "scheduler": first.state_dict()})

    second = cls(optimizer(0.1, 0.02), **CLASSES[cls], eta_min=1e-4)
    second.optimizer.load_state_dict(saved["optimizer"])
    second.load_state_dict(saved["scheduler"])
    assert seen + advance(second, TOTAL + 5 - stop) == whole
    assert second.get_last_lr() == whole[-1]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_resume_is_exact_for_any_length_groups_and_accumulation(data):
    total = data.draw(st.integers(1, 40), "total")
    warmup = data.draw(st.integers(0, total - 1), "warm-up")
    bases = data.draw(st.lists(st.floats(1e-5, 1), min_size=1, max_size=3), "bases")
    accumulate = data.draw(st.integers(1, 4), "accumulation")
    stop = data.draw(st.integers(0, accumulate * total), "batches before the stop")

    def make():
        return CosineAnnealingWarmupLR(optimizer(*bases), warmup, total, eta_min=1e-6)

    def run(scheduler, batches):
        for batch in batches:
            if (batch + 1) % accumulate == 0:
                yield [group["lr"] for group in scheduler.optimizer.param_groups]
                scheduler.optimizer.step()
                scheduler.step()

    first, second = make(), make()
    before = list(run(first, range(stop)))
    second.load_state_dict(through_a_file(first.state_dict()))
    seen = before + list(run(second, range(stop, accumulate * total)))
    for step, rates in enumerate(seen):
        assert rates == pytest.approx([expected(step, b, warmup, total, 1e-6) for b in bases], rel=1e-9, abs=1e-18)
    assert len(seen) == total


@both
def test_last_step_sets_where_a_schedule_continues(cls):
    # last_step names the last step that was completed: the next is one after it.
    whole = advance(cls(optimizer(0.1), **CLASSES[cls]), TOTAL)
    resumed = optimizer(0.1)
    resumed.param_groups[0]["initial_lr"] = 0.1
    keyword = "last_step" if cls is CosineAnnealingWarmupLR else "last_epoch"
    scheduler = cls(resumed, **CLASSES[cls], **{keyword: 4})
    assert advance(scheduler, TOTAL - 5) == whole[5:]


@both
def test_a_scheduler_is_a_lambda_lr_with_a_plain_state(cls):
    scheduler = cls(optimizer(0.1), **CLASSES[cls])
    assert isinstance(scheduler, LambdaLR)
    state = scheduler.state_dict()
    assert through_a_file(state) == state
    assert state["plan"]["curve"] == {"warmup": 3, "total": TOTAL, "warmup_floor": 0.0, "num_cycles": 0.5}


def test_numpy_numbers_do_not_reach_the_state():
    scheduler = CosineAnnealingWarmupLR(optimizer(0.1), np.int64(3), np.int64(TOTAL), np.float64(0.01))
    state = through_a_file(scheduler.state_dict())
    plain = CosineAnnealingWarmupLR(optimizer(0.1), 3, TOTAL, 0.01)
    plain.load_state_dict(state)
    assert state == plain.state_dict()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"total_steps": 24}, "at step 12.*at step 24"),
        ({"warmup_steps": 4}, "warm-up 3 steps.*warm-up 4 steps"),
        ({"eta_min": 0.01}, "0.00e.00 at.*1.00e-02 at"),
    ],
)
def test_a_state_of_another_plan_is_rejected_and_changes_nothing(changed, words):
    first = CosineAnnealingWarmupLR(optimizer(0.1), **CLASSES[CosineAnnealingWarmupLR])
    advance(first, 7)
    second = CosineAnnealingWarmupLR(optimizer(0.1), **CLASSES[CosineAnnealingWarmupLR] | changed)
    curve = second.plan
    with pytest.raises(ScheduleError, match=f"(?s){words}.*step 7.* would go from 5.868e-02 to "):
        second.load_state_dict(first.state_dict())
    assert second.plan == curve and second.last_epoch == 0


def test_a_state_of_another_peak_or_other_groups_is_rejected():
    state = CosineAnnealingWarmupLR(optimizer(0.1, 0.2), 3, TOTAL).state_dict()
    for bases in ((0.1, 0.3), (0.1,), (0.2, 0.2)):
        with pytest.raises(ScheduleError, match=r"peak rates|would go from"):
            CosineAnnealingWarmupLR(optimizer(*bases), 3, TOTAL).load_state_dict(state)


def test_a_state_of_another_unit_or_another_class_is_rejected():
    by_epoch = CosineAnnealingWarmupEpochLR(optimizer(0.1), 3, TOTAL)
    with pytest.raises(ScheduleError, match="epoch"):
        CosineAnnealingWarmupLR(optimizer(0.1), 3, TOTAL).load_state_dict(by_epoch.state_dict())
    with pytest.raises(ScheduleError, match="no plan"):
        by_epoch.load_state_dict(LambdaLR(optimizer(0.1), lambda step: 1.0).state_dict())
    extended = PlanLR(optimizer(0.1), Plan(interval="step", curve=WarmupCosine(3, TOTAL), lr=0.1), extend=True)
    with pytest.raises(ScheduleError, match="cannot be extended"):
        extended.load_state_dict(by_epoch.state_dict())


def test_extend_continues_with_the_new_plan_and_peak():
    first = PlanLR(optimizer(0.1), Plan(interval="step", curve=WarmupCosine(3, TOTAL), lr=0.1))
    advance(first, 7)
    longer = Plan(interval="step", curve=WarmupCosine(3, 2 * TOTAL), lr=0.2)
    second = PlanLR(optimizer(0.2), longer, extend=True)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    seen = [rates[0] for rates in advance(second, 2 * TOTAL - 7)]
    assert seen == pytest.approx([expected(step, 0.2, total=2 * TOTAL) for step in range(7, 2 * TOTAL)])


def test_the_optimizer_has_the_plans_rates_after_loading_even_without_its_own_state():
    first = CosineAnnealingWarmupLR(optimizer(0.1), 3, TOTAL)
    advance(first, 5)
    second = CosineAnnealingWarmupLR(optimizer(0.1), 3, TOTAL)
    second.load_state_dict(first.state_dict())
    assert second.optimizer.param_groups[0]["lr"] == first.optimizer.param_groups[0]["lr"]


@both
@pytest.mark.parametrize("done", [0, 1, 5])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_has_the_same_rates_and_does_not_share_state(cls, done, duplicate):
    scheduler = cls(optimizer(0.1, 0.2), **CLASSES[cls])
    advance(scheduler, done)
    other = duplicate(scheduler)
    ahead = advance(other, 4)
    assert advance(scheduler, 4) == ahead


@both
def test_a_group_added_later_follows_the_curve(cls):
    scheduler = cls(optimizer(0.1), **CLASSES[cls])
    advance(scheduler, 4)
    scheduler.optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.5})
    advance(scheduler, 1)
    for step, rates in enumerate(advance(scheduler, 5), 5):
        assert rates == pytest.approx([expected(step, 0.1), expected(step, 0.5)])

    other = cls(optimizer(0.1), **CLASSES[cls])
    other.optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.5})
    other.load_state_dict(through_a_file(scheduler.state_dict()))
    assert other.get_last_lr() == pytest.approx([expected(10, 0.1), expected(10, 0.5)])


def test_a_rate_that_is_a_tensor_stays_a_tensor():
    rate = torch.tensor(0.1)
    scheduler = CosineAnnealingWarmupLR(torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=rate), 3, TOTAL)
    assert [r[0] for r in advance(scheduler, 6)] == pytest.approx([expected(s, 0.1) for s in range(6)], rel=1e-6)
    assert isinstance(scheduler.optimizer.param_groups[0]["lr"], torch.Tensor)


def test_the_schedule_can_wait_for_a_step_that_the_scaler_skipped():
    scheduler = CosineAnnealingWarmupLR(optimizer(0.1), 3, TOTAL)
    parameter, scaler = scheduler.optimizer.param_groups[0]["params"][0], torch.amp.GradScaler("cpu")
    rates = []
    for gradient in (1.0, math.inf, 1.0, 1.0):
        rates.append(scheduler.get_last_lr()[0])
        scaler.scale(parameter.sum() * gradient).backward()
        scale = scaler.get_scale()
        scaler.step(scheduler.optimizer)
        scaler.update()
        scheduler.optimizer.zero_grad()
        if scaler.get_scale() >= scale:
            scheduler.step()
    assert rates == pytest.approx([0.0, 0.1 / 3, 0.1 / 3, 0.2 / 3])


def test_weight_decay_and_clipping_do_not_change_the_rate():
    parameter = torch.ones(3, requires_grad=True)
    adamw = torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.5)
    scheduler = CosineAnnealingWarmupLR(adamw, 3, TOTAL)
    for step in range(TOTAL):
        assert adamw.param_groups[0]["lr"] == pytest.approx(expected(step, 0.1))
        parameter.pow(2).sum().backward()
        torch.nn.utils.clip_grad_norm_([parameter], 0.1)
        adamw.step()
        scheduler.step()


def test_get_cosine_schedule_with_warmup_has_waves_and_a_minimum():
    scheduler = get_cosine_schedule_with_warmup(optimizer(1.0), 4, 10, num_cycles=1.5, eta_min=0.2)
    waves = [0.0, 0.25, 0.5, 0.75, 1.0, 0.6, 0.2, 0.6, 1.0, 0.6, 0.2, 0.2]
    assert [rates[0] for rates in advance(scheduler, 12)] == pytest.approx(waves)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"warmup_steps": 12}, "warmup=12"),
        ({"warmup_steps": -1}, "warmup=-1"),
        ({"eta_min": -1.0}, "eta_min=-1.0"),
        ({"eta_min": math.nan}, "eta_min=nan"),
        ({"eta_min": 0.2}, "0.2 is above .* 0.1"),
    ],
)
def test_an_impossible_schedule_is_rejected(arguments, named):
    with pytest.raises(ScheduleError, match=named):
        CosineAnnealingWarmupLR(optimizer(0.1), **{"warmup_steps": 3, "total_steps": TOTAL, **arguments})


def test_a_constant_plan_is_a_scheduler_too():
    scheduler = PlanLR(optimizer(0.1, 0.3), Plan(interval="epoch", curve=None, lr=0.1))
    assert advance(scheduler, 5) == [[0.1, 0.3]] * 5


def test_each_group_may_follow_a_plan_of_its_own():
    def made():
        groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in (1.0, 0.1)]
        plans = [
            Plan(interval="step", curve=WarmupCosine(0, 4), lr=1.0),
            Plan(interval="step", curve=WarmupCosine(2, 4), lr=0.1),
        ]
        return PlanLR(torch.optim.SGD(groups), plans[0], group_plans=plans)

    scheduler, rates = made(), []
    for _ in range(5):
        rates.append(scheduler.get_last_lr())
        scheduler.optimizer.step()
        scheduler.step()
    first = [1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0.0]
    assert [rate for rate, _ in rates] == pytest.approx(first)
    assert [rate for _, rate in rates] == pytest.approx([0.0, 0.05, 0.1, 0.05, 0.0])

    resumed = made()
    resumed.load_state_dict(scheduler.state_dict())
    assert resumed.get_last_lr() == scheduler.get_last_lr()
    resumed.group_plans = (resumed.plan, resumed.plan)
    with pytest.raises(ScheduleError, match="saved under another plan"):
        resumed.load_state_dict(scheduler.state_dict())


def test_a_torch_scheduler_takes_a_curve_of_segments_and_its_state_is_one_time():
    curve = segments([{"length": 3, "shape": "linear", "to": 1}, {"length": "rest", "shape": "cosine", "to": 0}], TOTAL)
    first, second = (LambdaLR(optimizer(0.1), curve.factor) for _ in range(2))
    rates = advance(first, 7)
    assert rates == [[pytest.approx(expected(step, 0.1))] for step in range(7)]
    second.load_state_dict(through_a_file(first.state_dict()))
    assert second.last_epoch == 7 and second.get_last_lr() == [pytest.approx(expected(7, 0.1))]


def test_groups_follow_segments_from_their_own_peaks_and_a_state_of_other_segments_is_rejected():
    listed = [{"length": 3, "shape": "linear", "to": 1}, {"length": "rest", "shape": "linear", "to_lr": 0.02}]
    plans = [
        Plan(interval="step", curve=segments([listed[0], {**listed[1], "to_lr": end}], TOTAL), lr=0.1)
        for end in (0.02, 0.01)
    ]
    scheduler = PlanLR(optimizer(0.1, 0.3), plans[0])
    rates = advance(scheduler, TOTAL + 1)
    assert rates[3] == [0.1, pytest.approx(0.3)] and rates[-1] == [pytest.approx(0.02)] * 2
    state = through_a_file(scheduler.state_dict())
    PlanLR(optimizer(0.1, 0.3), plans[0]).load_state_dict(copy.deepcopy(state))
    with pytest.raises(ScheduleError, match="another plan"):
        PlanLR(optimizer(0.1, 0.3), plans[1]).load_state_dict(state)
    with pytest.raises(ScheduleError, match=r"segments\[1\]: it ends at the rate 0.02, above the peak 0.01"):
        PlanLR(optimizer(0.1, 0.01), plans[0])
