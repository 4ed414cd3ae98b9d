"""Curves of segments: the value of each shape, how segments join, and what the grammar reads and rejects."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partoken.schedule import Plan, ScheduleError, Segment, Segments, WarmupCosine, plan_from_config, segments
from partoken.schedule.segment import SHAPES

LENGTH = {"total_epochs": 20, "total_steps": 200, "steps_per_epoch": 10}
TRAIN = {"lr": 1e-3, "schedule_interval": "step"}
WSD = (
    {"length": "5%", "shape": "linear", "to": 1},
    {"length": "rest", "shape": "constant"},
    {"length": "20%", "shape": "1-sqrt", "to": 0},
)


def plan(listed, length=LENGTH, **train):
    return plan_from_config({**TRAIN, "schedule": {"segments": listed}, **train}, **length)


@pytest.mark.parametrize(
    ("segment", "halfway", "ending"),
    [
        (Segment(8, "constant", 0.5), 0.5, 0.5),
        (Segment(8, "linear", 0.2), 0.6, 0.2),
        (Segment(8, "cosine", 0.2), 0.6, 0.2),
        (Segment(8, "cosine", 0.2, cycles=1.0), 0.2, 1.0),
        (Segment(8, "sqrt", 0.2), 0.2 + 0.8 * 0.5**0.5, 0.2),
        (Segment(8, "1-sqrt", 0.2), 1.0 - 0.8 * 0.5**0.5, 0.2),
        (Segment(8, "polynomial", 0.2, power=3.0), 0.2 + 0.8 / 8, 0.2),
        (Segment(8, "exponential", 0.25), 0.5, 0.25),
        (Segment(8, "inverse_sqrt", 0.5), 1 / 2.5**0.5, 0.5),
    ],
    ids=lambda value: value.shape if isinstance(value, Segment) else "",
)
def test_each_shape_has_its_value_halfway_and_at_the_end(segment, halfway, ending):
    curve = Segments((segment,))
    assert curve.factor(4) == pytest.approx(halfway, abs=1e-15)
    assert curve.factor(8) == pytest.approx(ending, abs=1e-15)
    assert curve.factor(800) == curve.factor(8) and curve.factor(-3) == curve.factor(0)


falling = st.sampled_from([shape for shape in SHAPES if shape != "constant"])
pieces = st.lists(st.tuples(st.integers(1, 30), falling, st.floats(0.01, 1)), min_size=1, max_size=6)


def curve_of(listed):
    """Returns a curve whose segments fall, each to a share of where it begins."""
    level, made = 1.0, []
    for length, shape, share in listed:
        level = level * share * 0.999
        made.append(Segment(length, shape, level))
    return Segments(tuple(made))


@settings(deadline=None, max_examples=50)
@given(pieces)
def test_segments_join_without_a_jump_and_fall_within_the_bounds(listed):
    curve = curve_of(listed)
    for begins in curve.starts[1:]:
        assert curve.factor(math.nextafter(begins, 0)) == pytest.approx(curve.factor(begins), abs=1e-6)
    values = curve.factor(np.arange(curve.total + 1))
    assert all(before >= after - 1e-15 for before, after in pairwise(values))
    assert values[0] == 1 and values[-1] == pytest.approx(curve.segments[-1].end, abs=1e-15)


@settings(deadline=None, max_examples=50)
@given(pieces, st.floats(0, 0.01), st.floats(1e-4, 1))
def test_an_array_of_times_gives_what_single_times_give(listed, minimum, base):
    curve = Segments((*curve_of(listed).segments, Segment(5, "linear")))
    times = np.concatenate([np.arange(-3, curve.total + 4), np.linspace(0, curve.total, 57)])
    rates = curve.rate(times, base, minimum * base)
    assert rates.dtype == np.float64 and rates.shape == times.shape
    assert list(rates) == pytest.approx([curve.rate(float(time), base, minimum * base) for time in times], rel=1e-14)


def test_a_jump_is_made_only_where_one_is_asked_for():
    curve = Segments((Segment(4, "linear", 0.0), Segment(4, "linear", 0.0, start=0.5)))
    assert [curve.factor(t) for t in (3, 4, 6, 8)] == [0.25, 0.5, 0.25, 0.0]


def test_an_end_may_be_a_rate_and_the_minimum_ends_what_has_no_end():
    curve = Segments((Segment(2, "linear", end_lr=0.02), Segment(2, "linear")))
    assert [curve.rate(t, 0.1, 0.01) for t in (0, 2, 4)] == pytest.approx([0.1, 0.02, 0.01], abs=1e-17)
    assert [curve.rate(t, 0.2, 0.01) for t in (0, 2, 4)] == pytest.approx([0.2, 0.02, 0.01], abs=1e-17)


def test_an_inverse_square_root_goes_on_as_the_warm_up_decides():
    curve = segments([{"length": 16, "shape": "linear", "to": 1}, {"length": "rest", "shape": "inverse_sqrt"}], 400)
    for t in range(16, 401):
        assert curve.factor(t) == pytest.approx(math.sqrt(16 / t), abs=1e-15)


def test_warm_up_and_cosine_is_a_curve_of_two_segments():
    assert [segment.shape for segment in WarmupCosine(5, 20).segments] == ["linear", "cosine"]
    assert [segment.shape for segment in WarmupCosine(0, 20).segments] == ["cosine"]
    listed = [{"length": 5, "shape": "linear", "to": 1}, {"length": "rest", "shape": "cosine"}]
    twin, curve = segments(listed, 20), WarmupCosine(5, 20)
    assert [twin.rate(t, 0.1, 1e-3) for t in range(25)] == [curve.rate(t, 0.1, 1e-3) for t in range(25)]


# Lengths


@pytest.mark.parametrize(
    ("lengths", "total", "unit", "expected"),
    [
        (["5%", "rest", "20%"], 71, "step", [4, 53, 14]),
        (["33%", "33%", "34%"], 10, "step", [3, 4, 3]),
        ([5, "rest"], 20, "epoch", [5, 15]),
        (["10 steps", "rest", "2.5 epochs"], 200, "step", [10, 165, 25]),
        (["1 step", "0.25epochs", "rest"], 200, "step", [1, 3, 196]),
        (["0", "rest", 0], 10, "step", [10]),
        (["50%", "rest", "50%"], 10, "step", [5, 5]),
    ],
)
def test_lengths_are_counted_and_rounded_so_that_they_add_up(lengths, total, unit, expected):
    listed = [{"length": length, "shape": "constant"} for length in lengths]
    curve = segments(listed, total, unit=unit, steps_per_epoch=10)
    assert [segment.length for segment in curve.segments] == expected and curve.total == total


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=5), st.integers(100, 5000))
def test_shares_of_a_long_run_are_right_to_a_step(weights, total):
    shares = [100 * weight / sum(weights) for weight in weights]
    listed = [{"length": f"{share!r}%", "shape": "constant"} for share in shares]
    curve = segments(listed, total)
    assert sum(segment.length for segment in curve.segments) == total
    for segment, share in zip(curve.segments, shares, strict=True):
        assert abs(segment.length - total * share / 100) <= 1


def test_a_segment_that_repeats_begins_again_and_grows():
    listed = [{"length": "rest", "shape": "cosine", "from": 1, "to": 0, "repeat": 3, "growth": 2}]
    curve = segments(listed, 70)
    assert [segment.length for segment in curve.segments] == [10, 20, 40]
    assert [curve.factor(t) for t in (0, 10, 30)] == [1, 1, 1] and curve.factor(9) < 0.03


# Plans


def test_a_plan_follows_segments_and_names_what_they_replace():
    made = plan(WSD, use_cosine_schedule=True, warmup_epochs=5, min_lr=1e-5)
    assert made.headline == (
        "linear 10 steps to 1.00e-03, constant 150 steps at 1.00e-03, 1-sqrt 40 steps to 0.00e+00 at step 200; "
        "not used: train.use_cosine_schedule=true, train.min_lr=1e-05, train.warmup_epochs=5"
    )
    assert [made.rate(t) for t in (0, 5, 10, 160, 170)] == [0, 5e-4, 1e-3, 1e-3, 5e-4]
    assert made.advice() == ["the last step runs at 1.26e-05, so 0.00e+00 is never reached"]
    assert Plan.from_fingerprint(made.fingerprint()) == made


def test_the_minimum_of_the_run_ends_a_segment_without_an_end():
    made = plan([{"length": "rest", "shape": "linear"}], min_lr=1e-5)
    assert made.rate(200) == pytest.approx(1e-5) and made.rate(200, base=0.1) == pytest.approx(1e-5)
    assert "min_lr" not in made.headline


def test_a_fingerprint_of_an_older_version_is_still_read():
    saved = {
        "interval": "epoch",
        "curve": {"warmup": 5, "total": 50, "warmup_floor": 1e-06, "num_cycles": 0.5},
        "lr": 0.001,
        "min_lr": 0.0,
        "total_epochs": 50,
        "total_steps": 400,
        "steps_per_epoch": 8,
        "warmup_source": "train.warmup_epochs=5",
        "stage": "",
    }
    now = plan_from_config({"lr": 1e-3, "use_cosine_schedule": True, "warmup_epochs": 5}, total_epochs=50)
    assert Plan.from_fingerprint(saved) == now and now.fingerprint().keys() == saved.keys()
    assert now.fingerprint()["curve"] == saved["curve"]


# What is rejected


def warm(length="10%", **keys):
    return {"length": length, "shape": "linear", "to": 1, **keys}


REST = {"length": "rest", "shape": "constant"}


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ([], ["schedule.segments=[]", "list of segments"]),
        ("wsd", ["schedule.segments='wsd'"]),
        ([{"shape": "linear"}], ["schedule.segments[0]", "a length"]),
        ([warm("10 %", too=1)], ["schedule.segments[0].too", "Did you mean to?"]),
        ([warm(), {"length": "rest", "shape": "liner"}], ["schedule.segments[1].shape=liner", "mean linear?"]),
        ([{"length": "rest"}], ["schedule.segments[0].shape=None"]),
        ([warm("ten")], ["schedule.segments[0].length='ten'", "100 steps, 2 epochs, 10% or rest"]),
        ([warm(-1)], ["schedule.segments[0].length=-1"]),
        ([warm(True)], ["schedule.segments[0].length=True"]),
        ([warm(math.inf)], ["schedule.segments[0].length=inf"]),
        ([warm("110%"), REST], ["schedule.segments[0].length=110%", "at most 100%"]),
        ([warm(2.5), REST], ["schedule.segments[0].length=2.5", "whole number of steps"]),
        ([warm("10%"), warm("20%")], ["10% + 20% take 60 of 200 steps", "the length rest"]),
        ([warm("90%"), {"length": "90%", "shape": "constant"}], ["90% + 90% take 360 of 200 steps"]),
        ([warm(300), REST], ["schedule.segments[1].length=rest: nothing is left", "300 take 300 of 200 steps"]),
        ([REST, warm("rest")], ["schedule.segments[0].length=rest and schedule.segments[1].length=rest"]),
        ([warm("0.1%"), REST], ["schedule.segments[0].length=0.1%", "0.2 of 200 steps, which rounds to none"]),
        ([warm(0)], ["schedule.segments: the lengths 0 take 0 of 200"]),
        ([warm(to=1.5), REST], ["schedule.segments[0].to=1.5", "at most 1"]),
        ([warm(to=None, to_lr=0.1), REST], ["schedule.segments[0]", "ends at the rate 0.1, above the peak 0.001"]),
        ([warm(to_lr=1e-4), REST], ["schedule.segments[0].to=1 and to_lr=0.0001"]),
        ([warm(), REST | {"from": 0.5}], ["schedule.segments[1].from=0.5", "constant"]),
        ([warm(power=2), REST], ["schedule.segments[0].power=2", "only the shape polynomial"]),
        ([warm(cycles=2), REST], ["schedule.segments[0].cycles=2", "only the shape cosine"]),
        ([warm(repeat=2), REST], ["schedule.segments[0].repeat=2", "needs from"]),
        ([warm(growth=2), REST], ["schedule.segments[0].growth=2", "leave it out"]),
        ([warm(repeat=1.5), REST], ["schedule.segments[0].repeat=1.5"]),
        ([{"length": "rest", "shape": "exponential", "to": 0}], ["schedule.segments[0]", "never reaches 0"]),
        ([{"length": "rest", "shape": "inverse_sqrt"}], ["schedule.segments[0]", "never reaches 0"]),
        (
            [{"length": "50%", "shape": "linear", "to": 0.2}, {"length": "rest", "shape": "1-sqrt", "to": 0.5}],
            ["schedule.segments[1]: the 1-sqrt decay would rise from 0.2 to 0.5"],
        ),
        (
            [{"length": "50%", "shape": "linear", "to": 0.2}, {"length": "rest", "shape": "linear", "to": 0.5}],
            ["schedule.segments[1]: the linear decay would rise"],
        ),
    ],
)
def test_an_impossible_list_is_rejected_with_segment_and_key(listed, words):
    with pytest.raises(ScheduleError) as caught:
        plan(listed)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("train", "length", "words"),
    [
        ({"schedule_interval": "epoch"}, LENGTH, ["length=3 steps", "train.schedule_interval=step"]),
        ({}, {"total_epochs": 20, "total_steps": None}, ["trainer.max_steps"]),
    ],
)
def test_a_list_that_the_run_cannot_follow_is_rejected(train, length, words):
    with pytest.raises(ScheduleError) as caught:
        plan([warm("3 steps"), REST], length, **train)
    for word in words:
        assert word in str(caught.value)


def test_epochs_of_an_unknown_number_of_steps_are_rejected():
    with pytest.raises(ScheduleError, match=r"segments\[0\].length=2 epochs: .* unknown"):
        segments([warm("2 epochs"), REST], 100)


@pytest.mark.parametrize("schedule", [3, {}, {"warmup": "5%"}, {"segments": None, "warmup": "5%"}])
def test_a_schedule_without_segments_is_rejected(schedule):
    with pytest.raises(ScheduleError, match="schedule"):
        plan_from_config({**TRAIN, "schedule": schedule}, **LENGTH)
