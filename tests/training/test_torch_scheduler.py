"""Schedulers of torch that `train.scheduler` names."""

import math

import pytest

from partoken.errors import UserError
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.torch_scheduler import check_torch_scheduler
from tests.training.runs import settings


def with_scheduler(node, **train):
    return settings(scheduler=node, **{"use_cosine_schedule": False, **train})


def test_any_scheduler_of_torch_can_be_chosen(tmp_path):
    chosen = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.5}
    carry_out(with_scheduler(chosen, schedule_interval="epoch"), tmp_path)
    assert [float(r["lr"]) for r in read_table(tmp_path / "lr.csv") if r["group"] == "0"][::7] == [0.1, 0.05, 0.025]


def test_settings_of_the_cosine_beside_a_scheduler_of_torch_are_named_as_without_effect(tmp_path, caplog):
    chosen = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
    carry_out(with_scheduler(chosen, warmup_steps=999, min_lr=9.0), tmp_path)
    assert {row["lr"] for row in read_table(tmp_path / "lr.csv")} == {"0.1"}
    for word in ("train.warmup_steps=999 has no effect", "train.min_lr=9 has no effect"):
        assert word in caplog.text


def test_the_cosine_beside_a_scheduler_of_torch_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"train\.scheduler replaces .* train\.use_cosine_schedule=true"):
        carry_out(
            with_scheduler({"_target_": "torch.optim.lr_scheduler.ConstantLR"}, use_cosine_schedule=True), tmp_path
        )


def test_reduce_on_plateau_follows_the_monitor(tmp_path):
    chosen = {
        "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "patience": 0,
        "threshold": 10.0,
    }  # never better
    carry_out(with_scheduler(chosen), tmp_path)
    assert [float(r["lr"]) for r in read_table(tmp_path / "lr.csv") if r["group"] == "0"][::7] == pytest.approx(
        [0.1, 0.01, 0.001]
    )


def test_a_scheduler_may_contain_schedulers(tmp_path):
    warm = {"_target_": "torch.optim.lr_scheduler.LinearLR", "start_factor": 0.5, "total_iters": 7}
    then = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 14}
    both = {"_target_": "torch.optim.lr_scheduler.SequentialLR", "schedulers": [warm, then], "milestones": [7]}
    carry_out(with_scheduler(both), tmp_path)
    rates = [float(r["lr"]) for r in read_table(tmp_path / "lr.csv") if r["group"] == "0"]
    assert rates[0] == pytest.approx(0.05)
    assert rates[14] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi / 2)))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": "torch.optim.lr_scheduler.StepLr", "step_size": 1}, ["no class StepLr", "Did you mean StepLR?"]),
        ({"_target_": "torch.optim.lr_schedule.StepLR", "step_size": 1}, ["no module 'torch.optim.lr_schedule'"]),
        ({"_target_": "StepLR"}, ["StepLR", "no module"]),
        ({"_target_": "torch.optim.lr_scheduler.StepLR", "size": 1}, ["StepLR cannot be created", "size"]),
        ({"_target_": "torch.nn.Identity"}, ["is not a learning-rate scheduler"]),
    ],
    ids=["class", "module", "no module", "argument", "another class"],
)
def test_a_scheduler_that_cannot_be_created_is_rejected(node, words):
    with pytest.raises(UserError) as caught:
        check_torch_scheduler(node)
    for word in words:
        assert word in str(caught.value)


ONE_CYCLE = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": [0.1, 0.2], "total_steps": 30}


def test_a_cycle_as_long_as_the_run_is_accepted_for_both_groups_of_weights():
    check_torch_scheduler(ONE_CYCLE, steps=30)
    with pytest.raises(UserError, match=r"ends after 30 steps .* the run has 31"):
        check_torch_scheduler(ONE_CYCLE, steps=31)


def test_a_cycle_longer_than_the_tried_steps_is_still_compared_with_the_run():
    with pytest.raises(UserError, match=r"ends after 20000 steps .* the run has 30000"):
        check_torch_scheduler({**ONE_CYCLE, "total_steps": 20_000}, steps=30_000)


def test_a_rate_that_overflows_within_the_run_is_rejected():
    growing = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 1e100}
    check_torch_scheduler(growing, steps=3)
    with pytest.raises(UserError, match="gives the rate inf at step 5"):
        check_torch_scheduler(growing, steps=5)
