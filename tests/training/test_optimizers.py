"""A task with several optimizers: each follows a plan of its own, under accumulation and after a resume."""

import math

import pytest
import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.report import present
from partoken.system.checkpoint import read_checkpoint
from partoken.system.tables import read_table
from partoken.training import stage_run
from partoken.training.engine import carry_out, check_outcome
from tests.training.runs import settings

OPTIMIZERS = ("generator", "discriminator")
MODEL = {"_target_": "tests.training.adversarial.Adversarial"}
OWN = {"discriminator": {"lr": 0.02, "warmup_steps": 4, "optimizer": "adam"}}


def adversarial(trainer=(), **train):
    return settings(model=MODEL, trainer=trainer, **{"optimizers": OWN, **train})


def rates(folder, name):
    rows = read_table(folder / "lr.csv")
    return [float(row["lr"]) for row in rows if row["optimizer"] == name and row["group"] == "0"]


def cosine(step, peak, warmup, total):
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 21), (3, 9)])
def test_each_optimizer_follows_its_own_plan(tmp_path, accumulate, steps):
    summary = carry_out(
        adversarial(trainer={"accumulate_grad_batches": accumulate, "gradient_clip_val": 1.0}), tmp_path
    )
    check_outcome(summary)
    assert rates(tmp_path, "generator") == pytest.approx([cosine(t, 0.1, 2, steps) for t in range(steps)])
    assert rates(tmp_path, "discriminator") == pytest.approx([cosine(t, 0.02, 4, steps) for t in range(steps)])
    parts = summary["schedule"]["optimizers"]
    assert {part["steps"] for part in parts.values()} == {part["planned_steps"] for part in parts.values()} == {steps}
    assert list(read_table(tmp_path / "lr.csv")[0]) == ["optimizer", "step", "epoch", "group", "lr"]
    present(tmp_path)
    assert (tmp_path / "plots/learning_rate.png").stat().st_size > 10_000


def test_plans_by_epoch_are_followed_too(tmp_path):
    own = {"discriminator": {"lr": 0.02, "warmup_epochs": 0}}
    chosen = {"schedule_interval": "epoch", "warmup_epochs": 1, "warmup_steps": None, "optimizers": own}
    check_outcome(carry_out(adversarial(**chosen), tmp_path))
    assert rates(tmp_path, "generator")[::7] == pytest.approx([0.1e-6, 0.1, 0.05])
    assert rates(tmp_path, "discriminator")[::7] == pytest.approx([0.02, 0.015, 0.005])


def test_max_steps_counts_the_steps_of_each_optimizer(tmp_path):
    summary = carry_out(adversarial(trainer={"max_steps": 10}), tmp_path)
    check_outcome(summary)
    assert len(rates(tmp_path, "generator")) == len(rates(tmp_path, "discriminator")) == 10


def test_accumulation_takes_the_step_of_the_large_batch(tmp_path):
    """Four batches of 2 with accumulation 4 move the parameters as one batch of 8 does, in float64."""
    weights = []
    for name, batch_size, accumulate in (("small", 2, 4), ("large", 8, 1)):
        (tmp_path / name).mkdir()
        group = adversarial(
            trainer={"accumulate_grad_batches": accumulate, "precision": "64-true"},
            data={"size": 16},
            epochs=1,
            batch_size=batch_size,
            warmup_steps=0,
            optimizers=None,
            optimizer="sgd",
        )
        carry_out(group, tmp_path / name)
        weights.append(read_checkpoint(tmp_path / name / "checkpoints/last.ckpt")["state_dict"])
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], rtol=1e-12, atol=1e-12)


class SaveAfter(pl.Callback):
    """Saves a checkpoint after some batches."""

    def __init__(self, batches, path):
        self.batches, self.path = batches, path

    def on_train_batch_end(self, trainer, *_):
        self.batches -= 1
        if self.batches == 0:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("batches", [6, 7, 10])  # within the first epoch, at its end, within the second
def test_a_resumed_run_has_the_rates_and_parameters_of_an_uninterrupted_one(tmp_path, monkeypatch, batches):
    group = {"trainer": {"accumulate_grad_batches": 3}}
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    checkpoint = tmp_path / "stopped.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(stage_run, "stopping_callbacks", lambda train: [SaveAfter(batches, checkpoint)])
        carry_out(adversarial(**group), tmp_path / "whole")
    summary = carry_out(adversarial(**group, resume_from=str(checkpoint)), tmp_path / "resumed")
    check_outcome(summary)
    for name in OPTIMIZERS:
        resumed = rates(tmp_path / "resumed", name)
        assert resumed == rates(tmp_path / "whole", name)[-len(resumed) :]
        assert 0 < len(resumed) < 9
    whole, resumed = (
        read_checkpoint(tmp_path / name / "checkpoints/last.ckpt")["state_dict"] for name in ("whole", "resumed")
    )
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"optimizers": {"discriminater": {"lr": 1.0}}}, ["train.optimizers.discriminater", "discriminator"]),
        ({"optimizers": {"generator": {"lr": -1.0}}}, ["train.optimizers.generator.lr=-1.0"]),
        ({"optimizers": {"generator": {"warmup_steps": 21}}}, ["train.optimizers.generator.warmup_steps=21"]),
        (
            {"optimizers": None, "scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1}},
            ["train.scheduler"],
        ),
    ],
    ids=["name", "rate", "warm-up", "scheduler of torch"],
)
def test_impossible_settings_of_an_optimizer_are_rejected_by_name(tmp_path, train, words):
    with pytest.raises(UserError) as caught:
        carry_out(adversarial(**train), tmp_path)
    for word in words:
        assert word in str(caught.value)
