"""train.on_nonfinite=skip leaves out batches and steps whose numbers are not finite, and nothing else changes."""

import json

import pytest
import torch
from torch import nn

from partoken.errors import UserError
from partoken.report.run import format_summary
from partoken.system.checkpoint import read_checkpoint
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.skipping import NonFiniteSkipper
from tests.training.adversarial import Adversarial
from tests.training.runs import settings
from tests.training.toy import ToyModule


class Spoilt(ToyModule):
    """Its loss is multiplied by a factor in some batches of the second epoch."""

    def __init__(self, *, factor=float("nan"), batches=(2,), **options):
        super().__init__(**options)
        self.factor, self.batches, self.seen = factor, batches, 0
        self.norm = nn.BatchNorm1d(3)

    def training_step(self, batch, batch_idx):
        x, y = batch
        is_spoilt = self.current_epoch == 1 and batch_idx in self.batches
        factor = self.factor if is_spoilt else 1.0
        loss = nn.functional.mse_loss(self.network(self.norm(x * (factor if factor != factor else 1.0))), y) * factor
        self.log_training({"loss": loss}, len(x))
        return loss


class SpoiltGradient(Spoilt):
    """Its loss is finite, but not the gradient of its loss."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        is_spoilt = self.current_epoch == 1 and batch_idx in self.batches
        return loss + torch.sqrt(self.network(batch[0]) * 0).sum() if is_spoilt else loss


class SpoiltAdversarial(Adversarial):
    """The loss of its generator is not finite in a batch."""

    def optimize(self, loss, optimizer):
        is_spoilt = self.current_epoch == 1 and self.trainer.fit_loop.batch_idx == 2 and optimizer == "generator"
        super().optimize(loss * float("nan") if is_spoilt else loss, optimizer)


def run(folder, kind=Spoilt, accumulate=1, on_nonfinite="skip", train=(), **model):
    folder.mkdir(exist_ok=True)
    model["_target_"] = f"tests.training.test_skipping.{kind.__name__}"
    trainer = {"accumulate_grad_batches": accumulate}
    summary = carry_out(settings(model=model, trainer=trainer, on_nonfinite=on_nonfinite, **dict(train)), folder)
    return summary, read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]


def test_a_batch_within_a_window_adds_nothing_and_the_step_is_that_of_the_others(tmp_path):
    _, skipped = run(tmp_path / "skipped", accumulate=3)
    _, reference = run(tmp_path / "reference", accumulate=3, on_nonfinite="stop", factor=0.0)
    parameters = [name for name in skipped if name.startswith("network")]
    assert len(parameters) == 6
    assert all(torch.equal(skipped[name], reference[name]) for name in parameters)
    assert (tmp_path / "skipped/lr.csv").read_text() == (tmp_path / "reference/lr.csv").read_text()


@pytest.mark.parametrize("kind", [Spoilt, SpoiltGradient])
def test_a_step_without_gradients_that_can_be_used_is_not_taken(kind, tmp_path):
    summary, weights = run(tmp_path, kind)
    assert all(value.isfinite().all() for value in weights.values())
    schedule = summary["schedule"]
    assert (schedule["steps"], schedule["skipped_steps"], schedule["errors"]) == (20, 1, [])
    assert "1 more were skipped" in schedule["verdict"]
    assert [int(row["step"]) for row in read_table(tmp_path / "lr.csv")][::2] == list(range(20))


def test_the_buffers_of_the_model_do_not_see_the_batch(tmp_path):
    _, weights = run(tmp_path, batches=[2, 3])
    assert weights["norm.num_batches_tracked"] == 3 * 7 - 2
    assert weights["norm.running_mean"].isfinite().all()


def test_skipped_batches_are_counted_in_the_summary_and_in_the_metrics(tmp_path, caplog):
    summary, _ = run(tmp_path, batches=[2, 3])
    assert summary["skipped_batches"] == 2
    assert "left out          2 batches whose loss was not a finite number" in format_summary(summary)
    rows = read_table(tmp_path / "metrics.csv")
    assert [float(row["train_skipped_batches"]) for row in rows] == [0, 2, 0]
    assert all(float(row["train_loss"]) > 0 for row in rows)
    assert caplog.text.count("left out: its loss is not a finite number") == 2


def test_a_window_without_a_usable_batch_takes_no_step(tmp_path):
    summary, _ = run(tmp_path, accumulate=3, batches=[0, 1, 2])
    assert (summary["schedule"]["steps"], summary["schedule"]["skipped_steps"]) == (8, 1)


def test_a_run_ends_if_no_batch_of_an_epoch_can_be_used(tmp_path):
    with pytest.raises(UserError, match=r"every training loss of this epoch is not a finite number \(epoch 2"):
        run(tmp_path, batches=list(range(7)))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["status"] == "diverged"


def test_a_task_with_several_optimizers_leaves_out_the_step_of_one(tmp_path):
    summary, weights = run(tmp_path, SpoiltAdversarial)
    assert all(value.isfinite().all() for value in weights.values())
    steps = {name: part["steps"] for name, part in summary["schedule"]["optimizers"].items()}
    assert steps["generator"] == steps["discriminator"] - 1
    assert summary["skipped_batches"] == 1


def test_nothing_changes_in_a_run_whose_losses_are_finite(tmp_path):
    _, skip = run(tmp_path / "skip", factor=1.0)
    _, stop = run(tmp_path / "stop", factor=1.0, on_nonfinite="stop")
    assert all(torch.equal(skip[name], stop[name]) for name in stop)


def test_the_counts_continue_in_a_resumed_run(tmp_path):
    run(tmp_path)
    skipper = NonFiniteSkipper()
    saved = read_checkpoint(tmp_path / "checkpoints/last.ckpt")["callbacks"]["NonFiniteSkipper"]
    skipper.load_state_dict(saved)
    assert skipper.batches == 1
