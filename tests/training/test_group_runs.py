"""Runs with `train.groups`: what lr.csv, the verdict and the log say of them, and what a resume may change."""

import json
import logging
import math

import pytest
import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.report import run as report
from partoken.system.checkpoint import read_checkpoint
from partoken.system.tables import read_table
from partoken.training.engine import carry_out, check_outcome
from tests.training.runs import settings

GROUPS = {
    "first": {"match": "network.0", "factor": 0.1, "warmup_steps": 5},
    "last": {"match": ["network.3.*"], "lr": 0.3, "weight_decay": 0.2},
}
RUN = {"groups": GROUPS, "weight_decay": 0.1, "optimizer": "adamw", "min_lr": 0.001}
"""A run of 3 epochs of 7 steps."""


class PowerCut(pl.Callback):
    """Ends the run after two steps of its second epoch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 2):
            raise RuntimeError("power cut")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the folder of a run, its summary, and what it logged."""
    folder, lines = tmp_path_factory.mktemp("whole"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("partoken.training.optim")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        summary = carry_out(settings(**RUN), folder)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return folder, summary, lines


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns the checkpoint of the same run, stopped after its first epoch, and its folder."""
    folder = tmp_path_factory.mktemp("saved")
    with pytest.raises(RuntimeError, match="power cut"):
        carry_out(settings(**RUN), folder, callbacks=[PowerCut()])
    return str(folder / "checkpoints/last.ckpt")


def rates(folder, name):
    """Returns the rates of a group by step, which are the same for all its parameters."""
    found = {}
    for row in read_table(folder / "lr.csv"):
        if row.get("name") == name:
            assert found.setdefault(int(row["step"]), float(row["lr"])) == float(row["lr"])
    return [found[step] for step in sorted(found)]


def cosine(step, peak, warmup, total=21, low=0.001):
    if step < warmup:
        return peak * step / warmup
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@pytest.mark.parametrize(("name", "peak", "warmup"), [("default", 0.1, 2), ("first", 0.01, 5), ("last", 0.3, 2)])
def test_every_step_has_the_rate_of_the_group_with_its_own_peak_and_warm_up(whole, name, peak, warmup):
    assert rates(whole[0], name) == pytest.approx([cosine(step, peak, warmup) for step in range(21)], rel=1e-6)


def test_the_verdict_covers_every_group(whole):
    folder, summary, _ = whole
    assert summary["schedule"]["verdict"].startswith(
        "planned = applied at 21 steps of 3 groups, largest deviation 0.0e+00"
    )
    assert list(summary["schedule"]["groups"]) == ["default", "first", "last"]
    assert list(read_table(folder / "lr.csv")[0]) == ["step", "epoch", "group", "name", "lr"]


def test_the_log_shows_every_group_before_the_first_step(whole):
    lines = whole[2]
    assert lines[0].startswith("schedule, group first: warm-up 5 steps (train.groups.first.warmup_steps=5) to 1.00e-02")
    assert lines[2:] == [
        "| group   | tensors | parameters | frozen | peak rate | weight decay |",
        "| ------- | ------- | ---------- | ------ | --------- | ------------ |",
        "| default | 2       | 8          | 0      | 1.00e-01  | 0            |",
        "| first   | 1       | 12         | 0      | 1.00e-02  | 0.1          |",
        "| first   | 1       | 4          | 0      | 1.00e-02  | 0            |",
        "| last    | 1       | 4          | 0      | 3.00e-01  | 0.2          |",
        "| last    | 1       | 1          | 0      | 3.00e-01  | 0            |",
    ]


def test_the_picture_of_the_rates_has_a_curve_for_each_group_and_no_deviation(whole, monkeypatch):
    folder, found = whole[0], []
    plot = report.plot_applied
    monkeypatch.setattr(report, "plot_applied", lambda *given, **named: found.append(plot(*given, **named)))
    (folder / "plots").mkdir(exist_ok=True)
    schedule = json.loads((folder / "summary.json").read_text())["schedule"]
    report._plot_schedule(folder / "lr.csv", schedule, folder / "plots/learning_rate.png")
    assert found == [0.0]


def test_a_rate_that_leaves_the_plan_of_its_group_fails_the_run(tmp_path):
    class Push(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 9:
                trainer.optimizers[0].param_groups[1]["lr"] *= 1.001

    summary = carry_out(settings(**RUN), tmp_path, callbacks=[Push()])
    with pytest.raises(UserError, match=r"step 9 \(epoch 1\), group 1 \(first\): planned"):
        check_outcome(summary)


def test_a_resumed_run_is_the_run_that_was_not_stopped(whole, saved, tmp_path):
    reordered = dict(reversed(GROUPS.items()))
    summary = carry_out(settings(resume_from=saved, **{**RUN, "groups": reordered}), tmp_path)
    check_outcome(summary)
    assert (tmp_path / "lr.csv").read_text() == (whole[0] / "lr.csv").read_text()
    ours, theirs = (read_checkpoint(folder / "checkpoints/last.ckpt") for folder in (tmp_path, whole[0]))
    assert all(torch.equal(ours["state_dict"][name], value) for name, value in theirs["state_dict"].items())
    assert str(ours["optimizer_states"]) == str(theirs["optimizer_states"])


def changed(name, **values):
    return {**GROUPS, name: {**GROUPS[name], **values}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"groups": changed("first", match="network.2")}, ["train.groups.first.match was network.0 and is network.2"]),
        ({"groups": {"first": GROUPS["first"]}}, ["train.groups.last.match was"]),
        ({"groups": None}, ["train.groups.first.match was network.0 and is None"]),
        ({"groups": changed("first", layer_decay=1)}, ["train.groups.first.layer_decay was None and is 1"]),
        ({"no_weight_decay": "none"}, ["train.no_weight_decay was biases_and_norms and is none"]),
        ({"groups": changed("first", no_weight_decay="none")}, ["train.groups.first.no_weight_decay was None"]),
        ({"groups": changed("first", factor=0.2)}, ["factor was 0.1 and is 0.2", "=keep", "=extend"]),
        ({"groups": changed("last", lr=0.2)}, ["train.groups.last.lr was 0.3 and is 0.2", "=keep", "=extend"]),
        ({"groups": changed("first", warmup_steps=8)}, ["first.warmup_steps was 5 and is 8", "=keep", "=extend"]),
    ],
)
def test_a_resume_refuses_other_parameters_and_asks_about_other_rates(saved, tmp_path, changes, words):
    with pytest.raises(UserError) as caught:
        carry_out(settings(resume_from=saved, **{**RUN, **changes}), tmp_path)
    assert not (tmp_path / "lr.csv").exists()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_checkpoint_of_a_run_without_groups_is_refused(tmp_path):
    once = {**RUN, "epochs": 1}
    (tmp_path / "a").mkdir()
    carry_out(settings(**{**once, "groups": None}), tmp_path / "a")
    path = tmp_path / "a/checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    for key in ("groups", "no_weight_decay"):
        del content["partoken_stages"]["stages"][""][key]  # as an older version wrote it
    torch.save(content, path)
    with pytest.raises(UserError, match=r"train\.groups\.first\.match was None and is network\.0"):
        carry_out(settings(resume_from=str(path), **RUN), tmp_path)


def test_another_rate_and_weight_decay_of_a_group_take_effect(saved, tmp_path):
    groups = {"first": {**GROUPS["first"], "factor": 0.5}, "last": {**GROUPS["last"], "weight_decay": 0.7}}
    summary = carry_out(settings(resume_from=saved, **{**RUN, "groups": groups}, on_schedule_change="extend"), tmp_path)
    check_outcome(summary)
    assert rates(tmp_path, "first")[6:8] == pytest.approx([cosine(6, 0.01, 5), cosine(7, 0.05, 5)], rel=1e-6)
    saved_groups = read_checkpoint(tmp_path / "checkpoints/last.ckpt")["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in saved_groups] == [0.0, 0.1, 0.0, 0.7, 0.0]


def test_the_saved_rate_of_a_group_is_kept(saved, tmp_path):
    groups = changed("first", factor=0.5)
    carry_out(settings(resume_from=saved, **{**RUN, "groups": groups}, on_schedule_change="keep"), tmp_path)
    assert rates(tmp_path, "first") == pytest.approx([cosine(step, 0.01, 5) for step in range(21)], rel=1e-6)


def test_a_group_is_frozen_first_and_then_warmed(tmp_path):
    """The first stage has no group and freezes its parameters; the second one warms them up."""
    last = {"last": {"match": "network.3", "factor": 0.5, "warmup_steps": 6}}
    stages = {
        "frozen": {"epochs": 1, "freeze": ["network.3"], "warmup_steps": 0},
        "warmed": {"epochs": 2, "groups": last},
    }
    begin = []

    class Watch(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            begin.append(pl_module.network[3].weight.clone())

    summary = carry_out(settings(stages=stages), tmp_path, callbacks=[Watch()])
    check_outcome(summary)
    assert torch.equal(*begin)
    table = read_table(tmp_path / "lr.csv")
    assert {row["name"] for row in table if int(row["step"]) < 7} == {"default"}
    assert rates(tmp_path, "last")[:7] == pytest.approx([0.05 * step / 6 for step in range(7)])
    assert list(summary["schedule"]["groups"]["last"]["stages"][0].items()) == list(
        summary["schedule"]["plan"]["stages"][0].items()
    )
    report._plot_schedule(tmp_path / "lr.csv", summary["schedule"], tmp_path / "learning_rate.png")


def test_a_group_that_is_wholly_frozen_is_no_error_and_the_log_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    carry_out(settings(epochs=1, groups={"a": {"match": "network.0"}}, freeze=["network.0"], warmup_steps=1), tmp_path)
    assert {row["name"] for row in read_table(tmp_path / "lr.csv")} == {"default", "a"}
    assert "| a       | 1       | 12         | 12     | 1.00e-01  | 0            |" in caplog.messages


def test_a_scheduler_of_torch_keeps_the_share_of_a_group(tmp_path):
    step = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.5}
    own = {"use_cosine_schedule": False, "warmup_steps": None, "schedule_interval": "epoch", "scheduler": step}
    groups = {"a": {"match": "network.3", "factor": 0.1}}
    summary = carry_out(settings(groups=groups, lr_scaling="linear", lr_scaling_base_batch=1, **own), tmp_path)
    assert "recorded" in summary["schedule"]["verdict"]
    assert rates(tmp_path, "a")[::7] == pytest.approx([0.02, 0.01, 0.005])
    assert rates(tmp_path, "default")[::7] == pytest.approx([0.2, 0.1, 0.05])
    with pytest.raises(UserError, match=r"train\.groups\.a\.factor was 0\.1 and is 0\.2"):
        again = {"groups": {"a": {"match": "network.3", "factor": 0.2}}, "lr_scaling": "linear", **own}
        last = str(tmp_path / "checkpoints/last.ckpt")
        carry_out(settings(resume_from=last, lr_scaling_base_batch=1, epochs=4, **again), tmp_path)


def test_a_layer_below_the_minimum_is_refused_before_the_first_step(tmp_path):
    groups = {"all": {"match": "network.*", "layer_decay": 0.05}}
    with pytest.raises(UserError, match=r"layer_decay=0\.05: all\.0 would have the peak 0\.00025, below train\.min_lr"):
        carry_out(settings(groups=groups, min_lr=0.001), tmp_path)
    assert not (tmp_path / "lr.csv").exists()


def test_each_layer_has_a_row_and_a_share_of_the_rate(tmp_path):
    groups = {"all": {"match": "network.*", "layer_decay": 0.5}}
    check_outcome(carry_out(settings(groups=groups, epochs=1, warmup_steps=1), tmp_path))
    highest = rates(tmp_path, "all.3")
    assert rates(tmp_path, "all.0") == pytest.approx([rate / 4 for rate in highest])
    assert rates(tmp_path, "all.2") == pytest.approx([rate / 2 for rate in highest])


def test_groups_of_two_optimizers_follow_plans_of_their_own(tmp_path):
    run = settings(
        model={"_target_": "tests.training.adversarial.Adversarial"},
        trainer={"gradient_clip_val": None},
        optimizers={"discriminator": {"lr": 0.02}},
        groups={"biases": {"match": "*.bias", "factor": 0.1, "warmup_steps": 4}},
    )
    summary = carry_out(run, tmp_path)
    check_outcome(summary)
    at_peak = {
        (row["optimizer"], row["name"]): float(row["lr"])
        for row in read_table(tmp_path / "lr.csv")
        if row["step"] == ("4" if row["name"] == "biases" else "2")
    }
    assert at_peak == {
        ("generator", "default"): pytest.approx(0.1),
        ("generator", "biases"): pytest.approx(0.01),
        ("discriminator", "default"): pytest.approx(0.02),
        ("discriminator", "biases"): pytest.approx(0.002),
    }
    report._plot_schedule(tmp_path / "lr.csv", summary["schedule"], tmp_path / "learning_rate.png")
