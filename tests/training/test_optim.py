"""The optimizer of a train config: what decays, and what `configure_optimizers` hands to Lightning."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from partoken.training.groups import divide
from partoken.training.optim import OPTIMIZERS, build_optimizer, parameter_groups
from partoken.training.settings import TrainSettings
from tests.training.runs import TRAIN
from tests.training.toy import ToyData, ToyModule


def settings(**changes):
    return TrainSettings.read({**TRAIN, **changes})


def groups_of(module, own, lr=0.1):
    return parameter_groups(divide(dict(module.named_parameters()), ()), own, {"": lr}, {})


def test_biases_and_norms_do_not_decay():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Embedding(5, 2))
    decaying, still = groups_of(module, settings(weight_decay=0.1))
    assert {id(p) for p in decaying.parameters} == {id(module[0].weight), id(module[2].weight)}
    assert {id(p) for p in still.parameters} == {id(module[0].bias), id(module[1].weight), id(module[1].bias)}
    assert (decaying.weight_decay, still.weight_decay) == (0.1, 0.0)


def test_without_a_gradient_only_decaying_parameters_move():
    module = nn.Linear(2, 2)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    own = settings(optimizer="adamw", weight_decay=0.5)
    optimizer = build_optimizer(groups_of(module, own), own)
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(module.weight, before["weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(module.bias, before["bias"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_is_the_one_that_the_settings_name(name):
    own = settings(optimizer=name, weight_decay=0.0)
    optimizer = build_optimizer(groups_of(nn.Linear(2, 2), own, lr=0.3), own)
    assert type(optimizer).__name__.lower() == name
    assert {group["lr"] for group in optimizer.param_groups} == {0.3}


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_lightning_gets_a_lambda_lr_over_the_plan(interval):
    lengths = {"epoch": {"warmup_epochs": 1, "warmup_steps": None}, "step": {"warmup_steps": 2}}[interval]
    module = ToyModule(train={**TRAIN, "schedule_interval": interval, **lengths})
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=3, num_sanity_val_steps=0, **quiet)
    trainer.fit(module, datamodule=ToyData())
    (config,) = trainer.lr_scheduler_configs
    assert isinstance(config.scheduler, LambdaLR)
    assert (config.interval, config.frequency) == (interval, 1)


def test_the_rate_is_scaled_with_the_effective_batch_of_a_step(caplog):
    caplog.set_level("INFO")
    train = {**TRAIN, "lr": 0.01, "lr_scaling": "linear", "lr_scaling_base_batch": 2}
    module = ToyModule(train=train)
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = pl.Trainer(accelerator="cpu", max_epochs=3, accumulate_grad_batches=4, num_sanity_val_steps=0, **quiet)
    trainer.fit(module, datamodule=ToyData())
    assert module.plan.lr == pytest.approx(0.01 * (2 * 4) / 2)
    assert "for a batch of 2 becomes 4.00e-02" in caplog.text
