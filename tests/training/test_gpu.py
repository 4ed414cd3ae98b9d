"""A run on a GPU: exact resume with random numbers drawn there, and half precision whose scaler skips steps."""

import pytest
import torch

from partoken.system.checkpoint import read_checkpoint
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from tests.training.test_epoch_state import Stop, check_exact_resume, job
from tests.training.toy import ToyModule

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = {"accelerator": "gpu"}


class Overflowing(ToyModule):
    """The gradients of the third batch do not fit into half precision, so the scaler skips its step."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * 1e6 if (self.current_epoch, batch_idx) == (0, 2) else loss


@pytest.mark.parametrize("batch", [0, 1, 6, 13])
def test_a_run_that_was_stopped_goes_on_with_the_numbers_drawn_on_the_gpu(batch, tmp_path):
    """Dropout draws from the generator of the GPU."""
    whole = check_exact_resume(job(trainer=GPU), tmp_path, Stop(batch))
    assert read_checkpoint(whole / "checkpoints/last.ckpt")["callbacks"]["ExactResume"]["cuda"]


@pytest.mark.parametrize("batch", [1, 4, 13])
def test_the_scale_of_half_precision_is_resumed(batch, tmp_path):
    check_exact_resume(job(trainer={**GPU, "precision": "16-mixed"}), tmp_path, Stop(batch))


def test_a_step_that_the_scaler_skips_does_not_advance_the_schedule(tmp_path):
    settings = job(trainer={**GPU, "precision": "16-mixed", "accumulate_grad_batches": 1})
    settings["model"] = {"_target_": "tests.training.test_gpu.Overflowing"}
    schedule = carry_out(settings, tmp_path)["schedule"]
    assert schedule["skipped_steps"] >= 1
    steps = {row["step"] for row in read_table(tmp_path / "lr.csv")}
    assert schedule["steps"] == len(steps) == 21 - schedule["skipped_steps"]
    assert not schedule["errors"]
