"""The preview and the run accept the same configurations and make the same plan."""

import contextlib
import functools
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from partoken import config, preview
from partoken.composition import plain_group
from partoken.config import compose
from partoken.errors import UserError
from partoken.training.engine import carry_out
from tests.training.toy import ToyModule

BATCHES = 7

STAGES = (
    "null",
    "[]",
    "[{epochs: 4}]",
    "[{epoch: 4}, {epochs: 2}]",
    "[{epochs: 4, warmup_epochs: 1}, {epochs: 2, lr: 1e-4, warmup_epochs: 0}]",
    "[{epochs: 4, warmup_epochs: 4}, {epochs: 2}]",
    "[{epochs: 4, warmup_steps: 3}, {epochs: 2, lr: -1}]",
    "[{epochs: 2, min_lr: 1}]",
    "[{epochs: 2, freeze: [network.0]}, {epochs: 0}]",
    "[3]",
    "{warm: {epochs: 4, warmup_epochs: 1}, joint: {epochs: 2, warmup_epochs: 0}}",
    "{warm: {epochs: 4, warmup_epochs: 4}, joint: {epochs: 2}}",
    "{warm: {steps: 20, warmup_epochs: 1}, joint: {epochs: 2, warmup_epochs: 0}}",
    "{warm: {steps: 5, warmup_epochs: 1}, joint: {epochs: 2, ramp_epochs: 3}}",
    "{warm: {epochs: 2, weights_from: best}, joint: {epochs: 2}}",
)
VALUES = {
    "train.use_cosine_schedule": ("true", "true", "false", "3"),
    "train.schedule_interval": ("epoch", "step", "steps"),
    "train.epochs": ("1", "3", "6", "0", "2.5"),
    "train.lr": ("1e-3", "0", "-1", "fast"),
    "train.warmup_epochs": ("null", "0", "1", "2", "0.5", "-1"),
    "train.warmup_steps": ("null", "null", "0", "3", "14", "100", "2.5"),
    "train.min_lr": ("0", "1e-5", "1"),
    "train.num_cycles": ("0.5", "1", "0"),
    "train.lr_scaling": ("none", "linear", "sqrt"),
    "train.stages": STAGES,
    "train.scheduler": (
        "null",
        "null",
        "{_target_: torch.optim.lr_scheduler.StepLR, step_size: 2}",
        "{_target_: no.X}",
    ),
    "train.optimizer": ("adamw", "sgd", "adamm"),
    "train.groups": (
        "null",
        "{a: {match: network.*, factor: 0.5}}",
        "{a: {match: network, warmup_epochs: 2}}",
        "{a: {match: network, lr: -1}}",
    ),
    "trainer.max_epochs": ("3", "-1", "0"),
    "trainer.max_steps": ("-1", "5", "50", "0"),
    "trainer.max_time": ("null", "null", "{minutes: 5}"),
    "trainer.accumulate_grad_batches": ("1", "3", "0"),
    "trainer.limit_train_batches": ("1.0", "0.5", "3", "0.01"),
    "+trainer.benchmark": ("false",),
    "+trainer.max_step": ("3",),
}


@pytest.fixture(autouse=True, scope="module")
def composed_once():
    """Composes each configuration once, for the preview and the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("partoken.config.compose", functools.cache(compose))
        yield


class Started(Exception):
    """Training has begun, so the configuration was accepted."""


class Stopping(ToyModule):
    """Stops the run at its first batch and remembers the plan."""

    headlines: tuple[str, ...] = ()

    def training_step(self, batch, batch_idx):
        Stopping.headlines = tuple(stage.headline for stage in self.plan.plans) if self.plan else ()
        raise Started


def previewed(overrides):
    """Returns what the preview prints, or the error."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = preview.main([*overrides, "--batches-per-epoch", str(BATCHES)])
    assert (status == 0) != bool(errors.getvalue())
    return status == 0, output.getvalue() or errors.getvalue()


def started(overrides):
    """Returns whether a run begins to train, and the headlines of its stages or the error."""
    toy = {"data": {"_target_": "tests.training.toy.ToyData"}, "model": {"_target_": f"{__name__}.Stopping"}}
    try:
        cfg = config.compose(tuple(overrides))
        trainer = {**plain_group(cfg, "trainer"), "accelerator": "cpu", "enable_progress_bar": False}
        with tempfile.TemporaryDirectory() as folder:
            carry_out({"train": plain_group(cfg, "train"), "trainer": trainer, **toy}, Path(folder))
    except Started:
        return True, Stopping.headlines
    except UserError as error:
        return False, str(error)
    raise AssertionError("the run ended without a step")


@st.composite
def overrides(draw):
    chosen = draw(st.lists(st.sampled_from(list(VALUES)), max_size=5, unique=True))
    return ["train.batch_size=2", *(f"{key}={draw(st.sampled_from(VALUES[key]))}" for key in chosen)]


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # an example takes a second, and shrinking takes hundreds
    suppress_health_check=[HealthCheck.too_slow],
)
@given(overrides())
def test_no_configuration_is_accepted_by_one_and_rejected_by_the_other(chosen):
    accepted_by_preview, text = previewed(chosen)
    accepted_by_run, answer = started(chosen)
    assert accepted_by_preview == accepted_by_run, f"{chosen}\npreview: {text}\nrun: {answer}"
    if accepted_by_run:
        assert all(headline in text for headline in answer)


@pytest.mark.parametrize("stages", STAGES)
def test_stages_are_judged_alike(stages):
    chosen = [f"train.stages={stages}", "train.schedule_interval=step", "train.use_cosine_schedule=true"]
    chosen += ["train.warmup_epochs=1", "train.batch_size=2"]
    accepted_by_preview, text = previewed(chosen)
    accepted_by_run, answer = started(chosen)
    assert accepted_by_preview == accepted_by_run, f"preview: {text}\nrun: {answer}"
