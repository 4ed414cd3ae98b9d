"""A run that is stopped after any step and resumed continues with the numbers of an uninterrupted run."""

import csv

import pytest
import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.training.recorders import RateRecorder
from partoken.training.resume import AtomicCheckpointIO, ExactResume
from tests.training.runs import TRAIN
from tests.training.toy import ToyData, ToyModule

EPOCHS, STEPS = 3, 9  # 7 batches, accumulate 3: 3 optimizer steps an epoch, the last over a single batch


class Saver(pl.Callback):
    """Saves after k optimizer steps."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.optimizer_steps:
            path = self.folder / f"{pl_module.optimizer_steps}.ckpt"
            if not path.exists():
                trainer.save_checkpoint(path)


def fit(folder, name, *callbacks, resume=None, epochs=EPOCHS, **changes):
    pl.seed_everything(1, verbose=False)
    train = {**TRAIN, "epochs": epochs, **changes}
    module = ToyModule(train=train)
    recorder = RateRecorder(folder / f"{name}.csv")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        accumulate_grad_batches=3,
        callbacks=[recorder, ExactResume(), *callbacks],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=ToyData(), ckpt_path=resume, weights_only=True)
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file)), module, recorder


INTERVALS = {
    "epoch": {"schedule_interval": "epoch", "warmup_epochs": 1, "warmup_steps": None},
    "step": {"schedule_interval": "step"},
}


@pytest.fixture(scope="module", params=INTERVALS)
def uninterrupted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    rows, module, recorder = fit(folder, "whole", Saver(folder), **INTERVALS[request.param])
    assert recorder.largest_deviation == 0
    return request.param, folder, rows, module


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_a_resume_after_any_step_has_the_same_rates(uninterrupted, stop):
    interval, folder, rows, _ = uninterrupted
    assert len({r["step"] for r in rows}) == STEPS
    resumed, _, recorder = fit(folder, f"after{stop}", resume=folder / f"{stop}.ckpt", **INTERVALS[interval])
    assert resumed == [r for r in rows if int(r["step"]) >= stop]
    assert recorder.largest_deviation == 0


@pytest.mark.parametrize("stop", range(1, STEPS + 1))
def test_a_resume_after_any_step_has_the_same_parameters(uninterrupted, stop):
    """Dropout and shuffling included: the random state and the place in the epoch's order travel too."""
    interval, folder, _, whole = uninterrupted
    _, resumed, _ = fit(folder, f"again{stop}", resume=folder / f"{stop}.ckpt", **INTERVALS[interval])
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.fixture(scope="module")
def halfway(tmp_path_factory):
    """A step plan of 9 steps, saved after 4."""
    folder = tmp_path_factory.mktemp("halfway")
    rows, *_ = fit(folder, "whole", Saver(folder))
    return folder, rows


def rates(rows):
    return [float(r["lr"]) for r in rows if r["group"] == "0"]


def test_a_changed_plan_is_rejected_with_both_plans_and_the_jump(halfway):
    folder, _ = halfway
    with pytest.raises(UserError) as caught:
        fit(folder, "refused", resume=folder / "4.ckpt", epochs=6)
    for words in ("step 9", "step 18", "would go from", "train.on_schedule_change=extend"):
        assert words in str(caught.value)
    assert "=keep" not in str(caught.value)  # the saved plan is too short for the run


def test_keep_continues_with_the_saved_plan(halfway):
    folder, whole = halfway
    rows, module, recorder = fit(folder, "kept", resume=folder / "4.ckpt", lr=0.5, on_schedule_change="keep")
    assert rates(rows) == rates(whole)[4:]
    assert recorder.largest_deviation == 0
    assert recorder.summary(module.trainer, module)["errors"] == []


@pytest.mark.parametrize("epochs", [2, 6])
def test_keep_is_refused_before_training_if_the_run_has_another_length_than_the_saved_plan(halfway, epochs):
    folder, _ = halfway
    words = (
        r"keep: the saved plan ends after 9 steps, this run after .*\(train.epochs.* train.on_schedule_change=extend"
    )
    with pytest.raises(UserError, match=f"(?s){words}"):
        fit(folder, "kept", resume=folder / "4.ckpt", epochs=epochs, on_schedule_change="keep")


def test_extend_follows_the_requested_plan_from_here(halfway):
    folder, _ = halfway
    whole, *_ = fit(folder, "long", epochs=6, lr=0.2)
    rows, _, recorder = fit(folder, "extended", resume=folder / "4.ckpt", epochs=6, lr=0.2, on_schedule_change="extend")
    assert rates(rows) == rates(whole)[4:]
    assert recorder.largest_deviation == 0


def test_extend_says_how_far_the_rate_jumps(halfway, caplog):
    folder, _ = halfway
    fit(folder, "said", resume=folder / "4.ckpt", epochs=6, on_schedule_change="extend")
    assert "would go from" in caplog.text


def test_a_changed_rate_alone_is_a_change(halfway):
    folder, _ = halfway
    with pytest.raises(UserError, match="would go from"):
        fit(folder, "rate", resume=folder / "4.ckpt", lr=0.2)


def test_a_longer_constant_run_is_no_change(halfway):
    folder, _ = halfway
    constant = {"use_cosine_schedule": False, "warmup_steps": None}
    fit(folder, "constant", Saver(folder / "constant"), **constant)
    rows, *_ = fit(folder, "longer", resume=folder / "constant/9.ckpt", epochs=4, **constant)
    assert rates(rows) == [0.1] * 3


def test_the_checkpoint_of_another_model_is_rejected_by_name(halfway):
    folder, _ = halfway
    checkpoint = torch.load(folder / "4.ckpt", weights_only=True)
    checkpoint["state_dict"]["network.0.weight"] = torch.zeros(5, 3)
    torch.save(checkpoint, folder / "other.ckpt")
    with pytest.raises(UserError, match=r"another model.*network\.0\.weight: \(5, 3\) there, \(4, 3\) here"):
        fit(folder, "other", resume=folder / "other.ckpt")


class SkipEveryThird(torch.amp.GradScaler):
    """Finds an infinity at every third step."""

    count = 0

    def step(self, optimizer, *args, **kwargs):
        self.count += 1
        return None if self.count % 3 == 0 else optimizer.step(*args, **kwargs)


def test_the_plan_advances_only_when_the_optimizer_stepped(tmp_path, monkeypatch):
    """A skipped step has no row and uses up no rate of the plan."""
    whole, *_ = fit(tmp_path, "whole")
    scaler = SkipEveryThird(enabled=False)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        optimizer_closure()
        scaler.step(optimizer)

    monkeypatch.setattr(ToyModule, "optimizer_step", optimizer_step)
    rows, module, recorder = fit(tmp_path, "skipping")
    assert module.optimizer_steps == 6
    assert [int(r["step"]) for r in rows if r["group"] == "0"] == list(range(6))
    assert rates(rows) == rates(whole)[:6]
    assert recorder.largest_deviation == 0
    assert recorder.summary(module.trainer, module)["skipped_steps"] == 3
    assert recorder.summary(module.trainer, module)["errors"] == []


def test_the_test_of_a_checkpoint_within_an_epoch_does_not_shorten_the_next_stage(tmp_path):
    options = dict(accelerator="cpu", logger=False, default_root_dir=tmp_path, num_sanity_val_steps=0)
    options |= dict(enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    data, module = ToyData(), ToyModule(train=TRAIN)
    trainer = pl.Trainer(max_steps=3, **options)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "3.ckpt")
    trainer.test(module, datamodule=data, ckpt_path=tmp_path / "3.ckpt", verbose=False, weights_only=True)
    assert len(list(data.train_dataloader())) == 7
