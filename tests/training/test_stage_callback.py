"""Frozen parts, and the ramp of the loss, while a stage is trained."""

import unittest.mock

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from partoken.errors import UserError
from partoken.system.tables import read_table
from partoken.training import stage_run
from partoken.training.engine import carry_out
from tests.training.runs import settings
from tests.training.toy import ToyModule


def test_a_part_frozen_in_one_of_two_uneven_stages_does_not_move_there(tmp_path):
    """Two stages in one run: each has its own warm-up and peak, and what is frozen does not move."""
    stages = [{"epochs": 2, "lr": 0.1}, {"epochs": 1, "lr": 0.02, "freeze": ["network.0"]}]
    chosen = {"stages": stages, "schedule_interval": "epoch", "warmup_epochs": 0, "warmup_steps": None}
    watched = []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            watched.append([p.detach().clone() for p in module.network[0].parameters()])

    with unittest.mock.patch.object(stage_run, "stopping_callbacks", lambda train: [Watch()]):
        summary = carry_out(settings(**chosen), tmp_path)
    rates = [float(r["lr"]) for r in read_table(tmp_path / "lr.csv") if r["group"] == "0"]
    assert rates[::7] == pytest.approx([0.1, 0.05, 0.02])
    assert summary["schedule"]["steps"] == summary["schedule"]["planned_steps"] == 21
    first, second, third = watched
    assert not torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(second, third, strict=True))


class First(pl.Callback):
    """Keeps the parameters from before the first step."""

    def on_train_start(self, trainer, module):
        self.before = {name: value.clone() for name, value in module.state_dict().items()}

    def on_train_end(self, trainer, module):
        self.after = module.state_dict()


@pytest.mark.parametrize(("part", "prefix"), [("network.0", "network.0."), ("network.2", "network.2.")])
def test_a_frozen_part_does_not_move_and_everything_else_does(tmp_path, part, prefix):
    watch = First()
    with unittest.mock.patch.object(stage_run, "stopping_callbacks", lambda train: [watch]):
        carry_out(settings(freeze=[part]), tmp_path)
    for name, value in watch.before.items():
        assert torch.equal(value, watch.after[name]) == name.startswith(prefix), name


def test_a_part_that_the_model_does_not_have_is_rejected_before_training(tmp_path):
    with pytest.raises(UserError, match=r"train\.freeze=netwrk: .*Did you mean network\?"):
        carry_out(settings(freeze=["netwrk"]), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


class Normed(ToyModule):
    """The toy with a norm that has running averages, and two weights of the loss."""

    def __init__(self, **options):
        super().__init__(**options)
        self.network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.loss_weights = {"a": 1.0, "b": 0.5}
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(("train", self.run_epoch, *self.loss_weights.values()))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.seen.append(("val", self.run_epoch, *self.loss_weights.values()))
        super().validation_step(batch, batch_idx)


def run_normed(folder, monkeypatch, stages, **changes):
    watch = First()
    monkeypatch.setattr(stage_run, "stopping_callbacks", lambda train: [watch])
    carry_out(
        settings(model={"_target_": "tests.training.test_stage_callback.Normed"}, stages=stages, **changes), folder
    )
    return watch


def test_the_running_averages_of_a_frozen_norm_stand_still(tmp_path, monkeypatch):
    watch = run_normed(tmp_path, monkeypatch, [{"epochs": 2, "freeze": ["network.1"]}])
    for name, value in watch.before.items():
        assert torch.equal(value, watch.after[name]) == name.startswith("network.1."), name


def test_a_norm_that_is_frozen_in_the_last_epoch_moves_before(tmp_path, monkeypatch):
    stage = {"epochs": 3, "freeze_last": ["network.1"], "freeze_last_epochs": 1}
    averages = []

    class Watch(First):
        def on_train_epoch_end(self, trainer, module):
            averages.append(module.network[1].running_mean.clone())

    watch = Watch()
    monkeypatch.setattr(stage_run, "stopping_callbacks", lambda train: [watch])
    carry_out(settings(model={"_target_": "tests.training.test_stage_callback.Normed"}, stages=[stage]), tmp_path)
    assert not torch.equal(averages[0], averages[1])
    assert torch.equal(averages[1], averages[2])


def test_the_loss_moves_from_the_weights_of_the_stage_before_to_its_own(tmp_path, monkeypatch):
    seen = []

    class Watch(pl.Callback):
        def on_train_end(self, trainer, module):
            seen.append(module.seen)

    monkeypatch.setattr(stage_run, "stopping_callbacks", lambda train: [Watch()])
    model = {"_target_": "tests.training.test_stage_callback.Ramped"}
    stages = [{"epochs": 1, "model": {"b": 3.0}}, {"epochs": 3, "ramp_epochs": 2}]
    carry_out(settings(model=model, stages=stages, warmup_steps=1), tmp_path)
    assert {entry[2:] for entry in seen[0]} == {(1.0, 3.0)}
    train = [entry[2:] for entry in seen[1] if entry[0] == "train"]
    # 7 batches an epoch: the weight of b falls from 3.0 to 0.5 over 14 steps, the weight of a is the same in both.
    expected = [3.0 - 2.5 * min(step / 14, 1) for step in range(21)]
    assert [b for _, b in train] == pytest.approx(expected)
    assert {a for a, _ in train} == {1.0}
    assert {entry[2:] for entry in seen[1] if entry[0] == "val"} == {(1.0, 0.5)}, "evaluation has the final weights"


class Ramped(Normed):
    def __init__(self, b=0.5, **options):
        super().__init__(**options)
        self.loss_weights["b"] = b


def test_a_ramp_of_the_first_stage_begins_at_zero(tmp_path, monkeypatch):
    seen = []

    class Watch(pl.Callback):
        def on_train_end(self, trainer, module):
            seen.extend(module.seen)

    monkeypatch.setattr(stage_run, "stopping_callbacks", lambda train: [Watch()])
    model = {"_target_": "tests.training.test_stage_callback.Ramped"}
    carry_out(settings(model=model, stages=[{"epochs": 2, "ramp_epochs": 1}]), tmp_path)
    weights = [entry[2:] for entry in seen if entry[0] == "train"]
    assert [weights[0], weights[7]] == [(0.0, 0.0), (1.0, 0.5)]
