"""What a changed plan does to each segment of a run that has begun."""

import pytest

from partoken.schedule import explain_change, plan_from_config
from partoken.schedule.extending import begun_decay, explain_segments

WSD = [
    {"length": 10, "shape": "linear", "to": 1},
    {"length": "rest", "shape": "constant"},
    {"length": "20%", "shape": "1-sqrt", "to": 0},
]


def plan(total, listed=WSD):
    train = {"lr": 1e-3, "schedule_interval": "step", "schedule": {"segments": listed}}
    return plan_from_config(train, total_epochs=None, total_steps=total)


def test_a_constant_segment_grows_and_a_decay_moves():
    lines = explain_segments(plan(100), plan(200), 50)
    assert lines == [
        "segment 2 (constant) grows from 70 steps to 150 steps",
        "segment 3 (1-sqrt) begins at step 160 in place of 80, grows from 20 steps to 40 steps",
    ]
    assert begun_decay(plan(100), plan(200), 50) == begun_decay(plan(100), plan(200), 80) == ""


def test_a_decay_that_has_begun_cannot_change_and_the_advice_is_to_fork_before_it():
    reason = begun_decay(plan(100), plan(200), 81)
    assert "segment 3, the 1-sqrt decay, began at step 80 and the checkpoint is at step 81" in reason
    assert "a checkpoint at or before step 80" in reason
    assert begun_decay(plan(100), plan(100), 90) == ""
    assert begun_decay(plan(100), plan(200), 100) == "", "a decay that is over has nothing left to change"


def test_a_segment_that_comes_or_goes_is_named():
    trunk = [*WSD[:2]]
    assert explain_segments(plan(100, trunk), plan(100), 50) == [
        "segment 2 (constant) shrinks from 90 steps to 70 steps",
        "segment 3 (1-sqrt) is new",
    ]
    assert explain_segments(plan(100), plan(100, trunk), 50)[1] == "segment 3 (1-sqrt) is gone"
    cosine = [WSD[0], {"length": "rest", "shape": "cosine", "to": 0}]
    assert explain_segments(plan(100, trunk), plan(100, cosine), 50) == [
        "segment 2 (constant) becomes cosine, 90 steps"
    ]


def test_a_decay_that_would_lie_before_the_checkpoint_is_named():
    [grown, late] = explain_segments(plan(200), plan(100), 85)
    assert grown == "segment 2 (constant) shrinks from 150 steps to 70 steps, would be over"
    assert late.endswith("would have begun before step 85, so the rate jumps into its middle")


def test_the_explanation_of_a_change_has_the_lines_of_its_segments():
    lines = explain_change(plan(100), plan(200), step=90, epoch=0).splitlines()
    assert len(lines) == 5 and lines[2].startswith("segment 2 (constant)")
    assert lines[-1] == "the rate at step 90, epoch 0 would go from 2.929e-04 to 1.000e-03, x 3.41"


@pytest.mark.parametrize("time", [5, 50, 95])
def test_warm_up_and_cosine_extends_as_before(time):
    train = {"lr": 1e-3, "schedule_interval": "step", "use_cosine_schedule": True, "warmup_steps": 10}
    before, after = (plan_from_config(train, total_epochs=None, total_steps=total) for total in (100, 200))
    assert explain_segments(before, after, time) == [] and begun_decay(before, after, time) == ""
