"""From a train config to a plan: which key wins, what is refused, and how plans are compared."""

import json
import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partoken.schedule import (
    Plan,
    ScheduleError,
    WarmupCosine,
    explain_change,
    optimizer_steps,
    peak_rate,
    plan_from_config,
)

COSINE = {"use_cosine_schedule": True, "lr": 1e-3}
LENGTH = {"total_epochs": 20, "total_steps": 200, "steps_per_epoch": 10}


def plan(length=LENGTH, **train):
    return plan_from_config({**COSINE, **train}, **length)


@pytest.mark.parametrize(
    ("train", "warmup", "source", "unused"),
    [
        # epoch interval: warmup_epochs, else 10 %
        ({"warmup_epochs": 5}, 5, "train.warmup_epochs=5", ()),
        ({"warmup_epochs": 0}, 0, "train.warmup_epochs=0", ()),
        ({}, 2, "10 % of 20 epochs, as none is set", ()),
        ({"warmup_steps": 30}, 2, "10 % of 20 epochs, as none is set", ("train.warmup_steps=30",)),
        ({"warmup_steps": 30, "warmup_epochs": 5}, 5, "train.warmup_epochs=5", ("train.warmup_steps=30",)),
        # step interval: warmup_steps, else warmup_epochs, else 10 %
        ({"schedule_interval": "step", "warmup_steps": 30}, 30, "train.warmup_steps=30", ()),
        (
            {"schedule_interval": "step", "warmup_steps": 30, "warmup_epochs": 5},
            30,
            "train.warmup_steps=30",
            ("train.warmup_epochs=5",),
        ),
        ({"schedule_interval": "step", "warmup_steps": 0, "warmup_epochs": 5}, 0, "train.warmup_steps=0", None),
        ({"schedule_interval": "step", "warmup_epochs": 5}, 50, "train.warmup_epochs=5", ()),
        ({"schedule_interval": "step", "warmup_epochs": 0.25}, 3, "train.warmup_epochs=0.25", ()),
        ({"schedule_interval": "step"}, 20, "10 % of 200 steps, as none is set", ()),
    ],
)
def test_the_first_key_that_is_set_decides_the_warm_up(train, warmup, source, unused):
    made = plan(**train)
    assert (made.curve.warmup, made.warmup_source) == (warmup, source)
    assert unused is None or made.unused == unused
    assert source in made.headline
    for setting in made.unused:
        assert f"not used: {setting}" in made.headline


def test_the_units_and_floors_are_those_of_the_documents():
    assert plan(warmup_epochs=5).curve == WarmupCosine(5, 20, warmup_floor=1e-6)
    assert plan(warmup_epochs=5).rate(0) == pytest.approx(1e-9)  # a factor of the peak, not a rate
    assert plan(warmup_epochs=5).rate(20) == 0.0
    assert plan(warmup_epochs=5, min_lr=1e-5).rate(20) == pytest.approx(1e-5)
    by_step = plan(schedule_interval="step", warmup_steps=20, num_cycles=1.5, min_lr=1e-5)
    assert by_step.curve == WarmupCosine(20, 200, num_cycles=1.5)
    assert by_step.rate(0) == 0.0
    assert by_step.time(step=33, epoch=3) == 33 and plan().time(step=33, epoch=3) == 3


def test_a_plan_is_made_from_an_object_or_a_mapping():
    train = SimpleNamespace(use_cosine_schedule=True, lr=1e-3, warmup_epochs=5)
    assert plan_from_config(train, **LENGTH) == plan(warmup_epochs=5)


@pytest.mark.parametrize("length", [{"total_epochs": 3}, {"total_epochs": -1}, {"total_epochs": math.inf}])
def test_without_the_cosine_the_rate_is_constant_for_any_length(length):
    constant = plan(length, use_cosine_schedule=False, warmup_epochs=5, warmup_steps=7, min_lr=1e-2)
    assert [constant.rate(t) for t in (0, 1, 1000)] == [1e-3] * 3
    assert constant.headline == (
        "constant 1.00e-03, train.use_cosine_schedule=false; "
        "not used: train.min_lr=0.01, train.warmup_steps=7, train.warmup_epochs=5"
    )
    assert constant.advice() == []


@pytest.mark.parametrize(
    ("train", "length", "words"),
    [
        ({"warmup_epochs": 5}, {"total_epochs": 3}, ["train.warmup_epochs=5", "3 epochs", "train.epochs"]),
        ({"warmup_epochs": 3}, {"total_epochs": 3}, ["train.warmup_epochs=3"]),
        ({"schedule_interval": "step", "warmup_steps": 200}, LENGTH, ["train.warmup_steps=200", "200 steps"]),
        ({"warmup_epochs": 2.5}, LENGTH, ["train.warmup_epochs=2.5", "whole", "train.schedule_interval=step"]),
        ({"schedule_interval": "step", "warmup_steps": 2.5}, LENGTH, ["train.warmup_steps=2.5", "whole"]),
        ({"min_lr": 0.1}, LENGTH, ["train.min_lr=0.1", "train.lr=0.001"]),
        ({"min_lr": -0.1}, LENGTH, ["train.min_lr=-0.1", "0 or more"]),
        ({"lr": 0.0}, LENGTH, ["train.lr=0.0", "above 0"]),
        ({"lr": None}, LENGTH, ["train.lr=None"]),
        ({"lr": "1e-3"}, LENGTH, ["train.lr='1e-3'", "number"]),
        ({"lr": math.nan}, LENGTH, ["train.lr=nan"]),
        ({"num_cycles": 0}, LENGTH, ["train.num_cycles=0", "above 0"]),
        ({"warmup_steps": -1}, LENGTH, ["train.warmup_steps=-1"]),
        ({"warmup_epochs": -1}, LENGTH, ["train.warmup_epochs=-1"]),
        ({"warmup_epochs": True}, LENGTH, ["train.warmup_epochs=True"]),
        ({"schedule_interval": "steps"}, LENGTH, ["train.schedule_interval=steps", "epoch or step", "mean step"]),
        ({"schedule_interval": 3}, LENGTH, ["train.schedule_interval=3", "epoch or step"]),
        *(
            ({"schedule_interval": "step"}, {"total_epochs": 3, "total_steps": n}, ["trainer.max_steps"])
            for n in (None, -1)
        ),
        ({"schedule_interval": "step"}, {"total_epochs": 3, "total_steps": math.inf}, ["trainer.max_steps"]),
        *(({}, {"total_epochs": n}, ["train.epochs"]) for n in (None, -1, 0, math.inf)),
        (
            {"schedule_interval": "step", "warmup_epochs": 1},
            {"total_epochs": -1, "total_steps": 99},
            ["train.warmup_epochs=1", "train.warmup_steps"],
        ),
    ],
)
def test_an_impossible_schedule_is_rejected_with_keys_and_values(train, length, words):
    with pytest.raises(ScheduleError) as caught:
        plan(length, **train)
    for word in words:
        assert word in str(caught.value)


def test_values_are_checked_without_the_cosine_too():
    with pytest.raises(ScheduleError, match=r"train\.warmup_epochs=-1"):
        plan(use_cosine_schedule=False, warmup_epochs=-1)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 5), st.one_of(st.just(-1), st.integers(1, 60)))
def test_steps_are_those_of_a_loop_that_ends_each_epoch_with_a_step(batches, accumulate, epochs, max_steps):
    steps = 0
    for _ in range(epochs):
        for batch in range(1, batches + 1):
            if (batch % accumulate == 0 or batch == batches) and steps != max_steps:
                steps += 1
    assert optimizer_steps(batches, accumulate, epochs, max_steps) == steps


def test_an_endless_run_has_the_steps_of_max_steps():
    assert optimizer_steps(10, 1, math.inf, 70) == 70
    assert optimizer_steps(10, 1, math.inf) == math.inf


@pytest.mark.parametrize(
    "made", [plan(warmup_epochs=5), plan(use_cosine_schedule=False), plan(schedule_interval="step")]
)
def test_a_fingerprint_is_plain_and_gives_the_plan_back(made):
    fingerprint = made.fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    again = Plan.from_fingerprint(fingerprint)
    assert again == made and again.fingerprint() == fingerprint
    assert again.total_steps == 200 and explain_change(made, again, step=3, epoch=0) == ""


def test_a_mapping_that_is_no_fingerprint_is_rejected():
    for wrong in ({}, {"curve": None}, {**plan().fingerprint(), "colour": "red"}):
        with pytest.raises(ScheduleError, match="no fingerprint"):
            Plan.from_fingerprint(wrong)


def test_plans_are_equal_when_their_rates_are():
    assert plan(warmup_epochs=2) == plan()  # 10 % of 20
    assert plan(warmup_epochs=2, length={"total_epochs": 20}) == plan()
    for changed in ({"lr": 2e-3}, {"min_lr": 1e-6}, {"warmup_epochs": 3}, {"num_cycles": 1.5}):
        assert plan(**changed) != plan()


def test_a_change_is_explained_with_both_plans_and_both_rates():
    # facts: step 50 of 100, without warm-up in both, extended to 200
    saved, requested = (
        Plan(interval="step", curve=WarmupCosine(10, total), lr=1e-3, warmup_source="w") for total in (100, 200)
    )
    text = explain_change(saved, requested, step=50, epoch=5)
    assert text == (
        "the saved plan: warm-up 10 steps (w) to 1.00e-03, then cosine to 0.00e+00 at step 100\n"
        "the requested plan: warm-up 10 steps (w) to 1.00e-03, then cosine to 0.00e+00 at step 200\n"
        "the rate at step 50, epoch 5 would go from 5.868e-04 to 8.946e-04, x 1.52"
    )


def test_linear_scaling_follows_the_effective_batch():
    assert peak_rate({"lr": 0.1}, 1024) == (0.1, "")
    assert peak_rate({"lr": 0.1, "lr_scaling": "none"}, 1024) == (0.1, "")
    rate, sentence = peak_rate({"lr": 0.1, "lr_scaling": "linear", "lr_scaling_base_batch": 32}, 48)
    assert rate == pytest.approx(0.15)
    for figure in ("32", "48", "1.00e-01", "1.50e-01"):
        assert figure in sentence
    assert peak_rate({"lr": 0.1, "lr_scaling": "linear"}, 8192)[0] == pytest.approx(3.2)  # Goyal et al., base 256
    for wrong in ({"lr_scaling": "sqrt"}, {"lr_scaling": "linear", "lr_scaling_base_batch": 0}):
        with pytest.raises(ScheduleError, match=r"train\.lr_scaling"):
            peak_rate({"lr": 0.1, **wrong}, 64)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"warmup_epochs": 2}, ["first epoch runs at 1e-06"]),
        ({"warmup_epochs": 0}, ["no warm-up"]),
        ({"warmup_epochs": 8}, ["first epoch", "40 % of the run", "the last epoch runs at 1.70e-05"]),
        ({"schedule_interval": "step"}, []),
        ({"schedule_interval": "step", "num_cycles": 1.0}, ["num_cycles=1 ends at 1.00e-03"]),
        ({"schedule_interval": "step", "warmup_steps": 190}, ["95 % of the run", "the last step runs at 2.45e-05"]),
    ],
)
def test_there_is_advice_for_choices_that_hurt_and_for_no_others(train, words):
    advice = plan(**train).advice()
    assert len(advice) == len(words)
    for sentence, word in zip(advice, words, strict=True):
        assert word in sentence
