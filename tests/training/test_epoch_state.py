"""A run that is stopped within an epoch and resumed leaves the bytes of an uninterrupted run."""

import os
import signal

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from partoken.system.checkpoint import read_checkpoint
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.saving import LastCheckpoint
from tests.training.runs import settings
from tests.training.toy import ToyData, ToyModule


class Drawing(ToyData):
    """Its loaders draw from the global generators when they are created, and have workers if asked for."""

    def __init__(self, *, num_workers=0, **options):
        super().__init__(**options)
        self.num_workers = num_workers

    def loader(self):
        torch.rand(1), np.random.rand(1)
        loader = super().loader()
        return type(loader)(self.data, loader.sampler, num_workers=self.num_workers)

    val_dataloader = test_dataloader = loader

    def train_dataloader(self):
        return self.resumable(self.loader())


class Noisy(ToyModule):
    """Draws from torch's generator also in a validation."""

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self._loss(batch) + torch.rand(()))


class Stop(pl.Callback):
    """Sends this process a signal after a batch of the training, or in a validation."""

    def __init__(self, batch=None, validation=None, number=signal.SIGTERM):
        self.batch, self.validation, self.number = batch, validation, number

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if self.batch == trainer.fit_loop.epoch_loop.total_batch_idx:
            os.kill(os.getpid(), self.number)

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if (trainer.current_epoch, batch_idx) == self.validation:
            os.kill(os.getpid(), self.number)


def job(*, data=(), trainer=(), checkpoint=(), **train):
    chosen = settings(
        trainer={"accumulate_grad_batches": 3, **dict(trainer)},
        model={"_target_": "tests.training.test_epoch_state.Noisy"},
        data={"_target_": "tests.training.test_epoch_state.Drawing", **dict(data)},
        **train,
    )
    return {**chosen, "checkpoint": dict(checkpoint)}


def resumed(settings, folder):
    return {**settings, "train": {**settings["train"], "resume_from": str(folder / "checkpoints/last.ckpt")}}


def stopped(settings, folder, *stops):
    """Carries out a run that is stopped several times and then goes on to its end."""
    for stop in stops:
        with pytest.raises(SystemExit):
            carry_out(settings, folder, callbacks=[stop])
        settings = resumed(settings, folder)
    return carry_out(settings, folder)


def check_exact_resume(settings, folder, *stops):
    """Checks that a run that is stopped leaves the numbers of one that is not; returns the folder of the latter."""
    whole, parts = folder / "whole", folder / "parts"
    for own in (whole, parts):
        own.mkdir()
    summary = carry_out(settings, whole)
    again = stopped(settings, parts, *stops)
    assert numbers(parts) == numbers(whole)
    assert again["test"] == summary["test"]
    return whole


def numbers(folder):
    """Returns everything that a run leaves and that must be equal; its times and speeds need not be."""
    table = read_table(folder / "metrics.csv")
    rows = [{key: row[key] for key in row if not key.endswith(("seconds", "_per_second"))} for row in table]
    last, best = (read_checkpoint(folder / f"checkpoints/{name}.ckpt") for name in ("last", "best"))
    states = [last["state_dict"], best["state_dict"], *(own["state"] for own in last["optimizer_states"])]
    drawn = last["callbacks"]["ExactResume"]["torch"]
    return (folder / "lr.csv").read_bytes(), rows, [_bytes(state) for state in states], drawn.tolist()


def _bytes(state):
    """Returns the tensors of nested mappings, and their other values, as bytes."""
    if isinstance(state, dict):
        return {name: _bytes(value) for name, value in state.items()}
    return state.numpy().tobytes() if isinstance(state, torch.Tensor) else state


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    summary = carry_out(job(), folder)
    return folder, summary


@pytest.mark.parametrize("batch", [0, 1, 2, 5, 6, 7, 13, 19])
def test_a_signal_after_any_batch_costs_nothing(batch, whole, tmp_path):
    """7 batches an epoch, 3 for an optimizer step: after batch 0 and 1 a step is not complete; 6 and 13 end epochs."""
    summary = stopped(job(), tmp_path, Stop(batch))
    assert numbers(tmp_path) == numbers(whole[0])
    assert summary["test"] == whole[1]["test"]


def test_an_epoch_that_is_the_best_writes_one_checkpoint_and_a_copy_of_it(tmp_path):
    carry_out(job(epochs=1), tmp_path)
    best, last = (tmp_path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    assert best.read_bytes() == last.read_bytes()
    assert not best.samefile(last), "damage to one must spare the other"


def test_a_signal_in_a_validation_ends_it_at_once_and_a_resume_repeats_all_of_it(whole, tmp_path):
    summary = stopped(job(), tmp_path, Stop(validation=(1, 2)))
    assert numbers(tmp_path) == numbers(whole[0])
    assert summary["test"] == whole[1]["test"]


def test_workers_and_several_stops_change_nothing(whole, tmp_path):
    """The number of workers changes at each restart."""
    with pytest.raises(SystemExit):
        carry_out(job(num_workers=2), tmp_path, callbacks=[Stop(4)])
    with pytest.raises(SystemExit):
        carry_out(resumed(job(), tmp_path), tmp_path, callbacks=[Stop(9)])
    carry_out(resumed(job(num_workers=1), tmp_path), tmp_path)
    assert numbers(tmp_path) == numbers(whole[0])


OTHERS = {
    "a validation in the middle of an epoch": (job(trainer={"val_check_interval": 4}), 3),
    "a validation every second epoch": (
        job(trainer={"check_val_every_n_epoch": 2}, data={"_target_": "tests.training.toy.ToyData"}),
        8,
    ),
    "a limit of batches": (job(trainer={"limit_train_batches": 5}), 4),
    "a plateau": (
        job(
            scheduler={"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "threshold": 9.0},
            use_cosine_schedule=False,
            warmup_steps=None,
        ),
        10,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_stop_costs_nothing_with(name, tmp_path):
    settings, batch = OTHERS[name]
    folders = tmp_path / "whole", tmp_path / "stopped"
    for folder in folders:
        folder.mkdir()
    carry_out(settings, folders[0])
    stopped(settings, folders[1], Stop(batch))
    assert numbers(folders[1]) == numbers(folders[0])


class Killed(BaseException):
    """Ends a run as SIGKILL would: nothing more is written."""


class Kill(Stop):
    """Ends the run at its place without another checkpoint."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if self.batch == trainer.fit_loop.epoch_loop.total_batch_idx:
            raise Killed

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if (trainer.current_epoch, batch_idx) == self.validation:
            raise Killed

    def on_test_batch_start(self, trainer, *_):
        if self.number == "test":
            raise Killed


KILLS = {
    "at the end of an epoch": (Kill(6), 2),
    "before the next checkpoint": (Kill(12), 3),
    "in a validation": (Kill(validation=(1, 3)), 5),
    "in a test": (Kill(number="test"), 9),
}


@pytest.mark.parametrize("name", KILLS)
def test_a_kill_loses_no_more_steps_than_the_setting_says(name, whole, tmp_path):
    kill, steps = KILLS[name]
    frequent = job(checkpoint={"every_n_steps": 2, "every_minutes": None})
    with pytest.raises(Killed):
        carry_out(frequent, tmp_path, callbacks=[kill])
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == steps
    carry_out(resumed(frequent, tmp_path), tmp_path)
    assert numbers(tmp_path) == numbers(whole[0])


def test_a_run_that_stopped_early_and_was_killed_in_its_test_trains_no_further(tmp_path):
    early = job(epochs=40, lr=1.0, early_stopping_patience=2)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert carry_out(early, whole)["epochs"] < 40
    with pytest.raises(Killed):
        carry_out(early, killed, callbacks=[Kill(number="test")])
    carry_out(resumed(early, killed), killed)
    assert numbers(killed) == numbers(whole)


def test_a_checkpoint_is_written_after_some_minutes(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(LastCheckpoint, "_save", lambda self, trainer, module: steps.append(module.optimizer_steps))
    carry_out(job(checkpoint={"every_minutes": 1e-9}), tmp_path)
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8, 9]
