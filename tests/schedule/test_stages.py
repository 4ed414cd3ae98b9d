"""A run of several stages is one plan: each stage begins at its own 0, with its own peak."""

import pytest
import torch

from partoken.schedule import Plan, PlanLR, ScheduleError, explain_change, plan_from_config
from partoken.schedule.stages import StagedPlan, read_fingerprint


def stage(epochs, lr=1.0, warmup=1, interval="epoch", steps_per_epoch=3, **train):
    train = {"use_cosine_schedule": True, "schedule_interval": interval, "lr": lr, "warmup_epochs": warmup, **train}
    lengths = {"total_epochs": epochs, "total_steps": epochs * steps_per_epoch, "steps_per_epoch": steps_per_epoch}
    return plan_from_config(train, **lengths)


def test_uneven_stages_follow_one_another_by_epoch():
    first, second = stage(3), stage(2, lr=0.1)
    both = StagedPlan((first, second))
    assert [both.rate(t) for t in range(5)] == [*(first.rate(t) for t in range(3)), *(second.rate(t) for t in range(2))]
    assert (both.total_epochs, both.total_steps) == (5, 15)


def test_uneven_stages_follow_one_another_by_step():
    first, second = stage(2, interval="step"), stage(1, 0.5, 0, "step")
    both = StagedPlan((first, second))
    rates = [both.rate(t) for t in range(10)]
    assert rates == [*(first.rate(t) for t in range(6)), *(second.rate(t) for t in range(4))]
    assert rates[9] == 0, "past the end the last stage holds"


def test_a_group_keeps_its_fraction_of_the_peak_in_every_stage():
    both = StagedPlan((stage(3), stage(2, lr=0.1)))
    assert [both.rate(t, base=0.5) for t in range(5)] == pytest.approx([both.rate(t) / 2 for t in range(5)])


def test_the_scheduler_follows_and_survives_a_checkpoint(tmp_path):
    both = StagedPlan((stage(3), stage(2, lr=0.1)))

    def begin():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, PlanLR(optimizer, both)

    optimizer, scheduler = begin()
    for time in range(5):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(both.rate(time), rel=1e-15)
        if time == 2:
            torch.save(scheduler.state_dict(), tmp_path / "state")
        optimizer.step()
        scheduler.step()
    optimizer, scheduler = begin()
    scheduler.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert optimizer.param_groups[0]["lr"] == both.rate(2)


def test_a_stage_that_grew_is_a_change():
    def constant(epochs):
        return Plan(interval="epoch", curve=None, lr=1.0, total_epochs=epochs, total_steps=epochs)

    short, long = (StagedPlan((constant(n), stage(2, lr=0.1))) for n in (2, 3))
    assert read_fingerprint(short.fingerprint()) == short
    assert explain_change(short, short, step=0, epoch=0) == ""
    assert "would go from" in explain_change(short, long, step=2, epoch=2)
    assert "would go from" in explain_change(constant(2), short, step=2, epoch=2)


@pytest.mark.parametrize(
    ("plans", "words"),
    [
        ((stage(2), stage(2, interval="step")), "train.schedule_interval"),
        ((stage(2), Plan(interval="epoch", curve=None, lr=1.0)), "needs a length"),
    ],
)
def test_stages_that_cannot_follow_one_another_are_rejected(plans, words):
    with pytest.raises(ScheduleError, match=words):
        StagedPlan(plans)
