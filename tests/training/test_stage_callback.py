"""Parts of the model that a run or a stage freezes."""

import unittest.mock

import pytest
import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.system.tables import read_table
from partoken.training import stage_run
from partoken.training.engine import carry_out
from tests.training.runs import settings


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
