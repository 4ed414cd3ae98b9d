"""A run that learns the same few batches by heart."""

import pytest
import torch

from partoken.errors import UserError
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.overfit import repeat_batches
from tests.training.runs import settings
from tests.training.toy import ToyData


def test_training_validation_and_test_have_the_same_batches_in_every_epoch():
    data = repeat_batches(ToyData(), {"overfit_batches": 2})
    epochs = [[x for x, _ in loader()] for loader in (data.train_dataloader, data.train_dataloader)]
    others = [[x for x, _ in loader()] for loader in (data.val_dataloader, data.test_dataloader)]
    assert len(epochs[0]) == 2
    for batches in (epochs[1], *others):
        assert all(torch.equal(a, b) for a, b in zip(epochs[0], batches, strict=True))


def test_a_fraction_and_more_batches_than_there_are_count_as_in_the_plan():
    assert len(repeat_batches(ToyData(), {"overfit_batches": 0.5}).train_dataloader()) == 3  # of 7
    assert len(repeat_batches(ToyData(), {"overfit_batches": 99}).train_dataloader()) == 7


def test_the_loss_of_the_repeated_batch_falls_to_zero(tmp_path):
    trainer = {"overfit_batches": 1, "limit_val_batches": 0.1, "check_val_every_n_epoch": 20}
    chosen = {"use_cosine_schedule": False, "epochs": 60, "optimizer": "adam", "lr": 0.1}
    summary = carry_out(settings(trainer=trainer, model={"dropout": 0.0}, **chosen), tmp_path)
    assert summary["schedule"]["steps"] == summary["schedule"]["planned_steps"] == 60
    assert float(read_table(tmp_path / "metrics.csv")[-1]["train_loss"]) < 1e-3
    assert summary["test"]["loss"] < 1e-3


def test_several_devices_are_rejected():
    with pytest.raises(UserError, match=r"trainer\.overfit_batches=1: needs a single device"):
        repeat_batches(ToyData(), {"overfit_batches": 1, "devices": 2})
