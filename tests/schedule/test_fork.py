"""The plan of a fork: the rates of its trunk to the digit, and then its own."""

import pytest

from partoken.schedule import Plan, ScheduleError, ScheduleSettings, Segment, Segments, WarmupCosine, fork_plan
from partoken.schedule.fork import forked_at
from partoken.schedule.segment import SHAPES

LINEAR = ScheduleSettings(
    lr=1.0, schedule={"segments": [{"length": "done"}, {"length": "50%", "shape": "linear", "to": 0}]}
)

TRUNKS = {shape: Segments((Segment(3, "linear", 1.0), Segment(9, shape, 0.25))) for shape in SHAPES}
TRUNKS["inverse_sqrt without an end"] = Segments((Segment(3, "linear", 1.0), Segment(9, "inverse_sqrt")))
TRUNKS["warm-up and cosine"] = WarmupCosine(3, 12, warmup_floor=1e-6)
TRUNKS["constant"] = None


@pytest.mark.parametrize("at", [2, 6, 8])
@pytest.mark.parametrize("name", TRUNKS)
@pytest.mark.parametrize("peak", [0.1, 0.02])
def test_a_fork_has_every_rate_of_its_trunk_and_begins_with_the_next_one(name, at, peak):
    minimum = 0.01 if name.startswith("warm-up") else 0.0
    trunk = Plan(interval="step", curve=TRUNKS[name], lr=0.1, min_lr=minimum)
    plan = fork_plan(trunk, LINEAR, step=at, epoch=1)
    assert [plan.rate(time, peak) for time in range(at + 1)] == [trunk.rate(time, peak) for time in range(at + 1)]
    length = at // 2
    rates = [trunk.rate(at, peak) * (1 - step / length) for step in range(length + 1)]
    assert [plan.rate(time, peak) for time in range(at, at + length + 1)] == pytest.approx(rates, abs=1e-15)
    assert plan.length == at + length and forked_at(plan) == at and forked_at(trunk) == 0
    assert Plan.from_fingerprint(plan.fingerprint()) == plan
    assert fork_plan(plan, LINEAR, step=at + 1, epoch=1) == plan  # the fork goes on


def test_a_length_counts_steps_epochs_or_a_share_of_what_is_done():
    trunk = Plan(interval="epoch", curve=None, lr=0.1)
    for length, expected in (("25%", 3), ("7 steps", 7), (7, 7), ("1.5 epochs", 6)):
        own = ScheduleSettings(lr=1.0, schedule={"segments": [{"length": "done"}, {"length": length, "shape": "sqrt"}]})
        plan = fork_plan(trunk, own, step=12, epoch=3, steps_per_epoch=4)
        assert (plan.interval, plan.length) == ("step", 12 + expected)


def test_a_checkpoint_before_the_end_of_a_first_epoch_cannot_be_forked_by_epoch():
    moving = Plan(interval="epoch", curve=WarmupCosine(1, 4), lr=0.1)
    with pytest.raises(ScheduleError, match="has no whole epoch, so there is nothing to fork"):
        fork_plan(moving, LINEAR, step=3, epoch=0)


def test_the_headline_names_where_the_fork_leaves_its_trunk():
    plan = fork_plan(Plan(interval="step", curve=None, lr=0.1), LINEAR, step=10, epoch=1)
    assert plan.headline == "forks off at step 10 with 1.00e-01, linear 5 steps to 0.00e+00 at step 15"
