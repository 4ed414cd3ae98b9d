"""Runs that end before their plan say how and why: in status.json, in summary.json and to the caller."""

import json

import pytest
import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.system.checkpoint import read_checkpoint
from partoken.system.run_status import read_status, request_stop
from partoken.training.engine import carry_out
from tests.training.runs import settings
from tests.training.toy import ToyData, ToyModule


class At(pl.Callback):
    """Calls a function at the start of an epoch."""

    def __init__(self, epoch, act):
        self.epoch, self.act = epoch, act

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == self.epoch:
            self.act()


class BadValidation(ToyModule):
    """Its validation loss is not a number in the second epoch."""

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch) * (float("nan") if self.current_epoch == 1 else 1.0))


def test_a_finished_run_says_so_with_its_overrides(tmp_path):
    summary = carry_out(settings(), tmp_path, overrides=["train.lr=0.1"])
    status = read_status(tmp_path)
    assert (status.status, status.reason) == ("finished", None)
    assert summary["status"] == "finished"
    assert list(status.overrides) == summary["overrides"] == ["train.lr=0.1"]
    assert status.started <= status.ended


def test_a_loss_that_is_not_finite_ends_the_run_at_once(tmp_path):
    with pytest.raises(UserError, match=r"training loss is not a finite number \(epoch \d+, after \d+ optimizer steps"):
        carry_out(settings(lr=1e30, warmup_steps=0), tmp_path)
    status = read_status(tmp_path)
    assert status.status == "diverged"
    assert "not a finite number" in status.reason


def test_a_diverged_run_says_so_in_its_summary(tmp_path):
    with pytest.raises(UserError, match="not a finite number"):
        carry_out(settings(lr=1e30, warmup_steps=0), tmp_path, overrides=["train.lr=1e30"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["status"], summary["reason"]) == ("diverged", read_status(tmp_path).reason)
    assert summary["overrides"] == ["train.lr=1e30"]
    assert "test" not in summary


class Named(tuple):
    """A batch of the toy domain whose samples have names."""

    ids = tuple(f"chain{number}" for number in range(10))


class NamedData(ToyData):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return Named(batch)


class BadBatch(ToyModule):
    """The loss of the third batch of the second epoch is infinite."""

    def training_step(self, batch, batch_idx):
        is_bad = self.current_epoch == 1 and batch_idx == 2
        return self._loss(batch) * (float("inf") if is_bad else 1.0)


@pytest.mark.parametrize("is_cheap", [True, False], ids=["at each batch", "later"])
def test_the_message_names_the_step_the_samples_and_the_last_finite_checkpoint(is_cheap, tmp_path, monkeypatch):
    if not is_cheap:  # as on a GPU, where the losses are read only from time to time
        monkeypatch.setattr("partoken.training.endings.is_cheap", lambda loss, trainer: False)
    with pytest.raises(UserError) as raised:
        kinds = {"model": "BadBatch", "data": "NamedData"}
        targets = {group: {"_target_": f"tests.training.test_endings.{name}"} for group, name in kinds.items()}
        carry_out(settings(**targets), tmp_path)
    message, samples = str(raised.value), ", ".join(f"chain{number}" for number in range(8))
    assert f"in the batch of {samples} and 2 more (epoch 2, after 10 optimizer steps)" in message
    assert f"the last finite checkpoint is {tmp_path / 'checkpoints/last.ckpt'}" in message
    assert "train.on_nonfinite=skip" in message


def test_the_last_checkpoint_of_a_diverged_run_has_finite_losses(tmp_path):
    model = {"_target_": "tests.training.test_endings.BadValidation"}
    with pytest.raises(UserError, match="val_loss is not a finite number"):
        carry_out(settings(model=model), tmp_path)
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["epoch"] == 0


def test_a_run_that_raises_is_failed_with_its_reason(tmp_path):
    def fail():
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk"):
        carry_out(settings(), tmp_path, callbacks=[At(1, fail)])
    status = read_status(tmp_path)
    assert (status.status, status.reason) == ("failed", "the disk is full")
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize("train", [{"epochs": 5}, {"stages": [{"epochs": 3}, {"epochs": 2}]}], ids=["one", "stages"])
def test_a_run_that_is_asked_to_stop_ends_after_its_epoch_with_test_and_summary(train, tmp_path):
    ask = At(1, lambda: request_stop(tmp_path, "pruned", "worse than the median"))
    summary = carry_out(settings(**train), tmp_path, callbacks=[ask])
    assert summary["epochs"] == 2
    assert summary["test"]["loss"] > 0
    assert summary["schedule"]["errors"] == []
    assert (summary["status"], summary["reason"]) == ("pruned", "worse than the median")
    assert read_status(tmp_path).status == "pruned"


def test_an_empty_stop_file_of_the_user_finishes_the_run(tmp_path):
    summary = carry_out(settings(epochs=5), tmp_path, callbacks=[At(0, (tmp_path / "stop").touch)])
    assert (summary["status"], summary["epochs"]) == ("finished", 1)
    assert "after epoch 1" in summary["reason"]


def test_a_stop_file_of_an_earlier_run_has_no_effect(tmp_path):
    (tmp_path / "stop").touch()
    assert carry_out(settings(), tmp_path)["epochs"] == 3


def test_a_run_that_replaces_another_sets_the_old_summary_aside_when_it_trains(tmp_path):
    carry_out(settings(), tmp_path)

    def look():
        assert not (tmp_path / "summary.json").exists()
        assert not list((tmp_path / "checkpoints").iterdir()), "a resume would take the old checkpoint for its own"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        carry_out({**settings(lr=0.2), "overwrite": True}, tmp_path, callbacks=[At(0, look)])
    assert not (tmp_path / "summary.json").exists()
    assert json.loads((tmp_path / "previous_summary.json").read_text())["status"] == "finished"


def test_the_check_of_the_loss_changes_no_number(tmp_path, monkeypatch):
    weights = []
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        if name == "without":
            monkeypatch.setattr("partoken.training.endings.Endings.on_train_batch_end", lambda *_: None)
        carry_out(settings(), tmp_path / name)
        weights.append(read_checkpoint(tmp_path / name / "checkpoints/last.ckpt")["state_dict"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


class Broken(At):
    """Makes a weight infinite after the last validation of an epoch, which no loss shows before the next one."""

    def on_validation_end(self, trainer, module):
        if trainer.current_epoch == self.epoch:
            self.act(module)

    def on_train_epoch_start(self, trainer, module):
        pass


def break_weight(module):
    with torch.no_grad():
        module.network[0].weight[0, 0] = torch.inf


def test_weights_that_are_not_finite_are_never_saved_nor_tested(tmp_path):
    with pytest.raises(UserError, match=r"weight network\.0\.weight is not a finite number .*: lower train\.lr=0\.1"):
        carry_out(settings(), tmp_path, callbacks=[Broken(1, break_weight)])
    assert read_status(tmp_path).status == "diverged"
    for name in ("best", "last"):
        assert read_checkpoint(tmp_path / f"checkpoints/{name}.ckpt")["epoch"] == 0
