"""A run that follows a list of segments: its applied rates, its resume, and a plan that changes on the way."""

import csv

import pytest
import pytorch_lightning as pl

from partoken.errors import UserError
from partoken.training.engine import carry_out, check_outcome
from tests.training.runs import settings

WSD = {
    "segments": [
        {"length": "1 epoch", "shape": "linear", "to": 1},
        {"length": "rest", "shape": "constant"},
        {"length": "40%", "shape": "1-sqrt", "to_lr": 0.01},
    ]
}
OF_THE_RUN = {"schedule": WSD, "epochs": 5, "warmup_steps": None, "use_cosine_schedule": False}
ACCUMULATED = {"accumulate_grad_batches": 3}
"""Seven batches of an epoch make three steps, so five epochs have 15: 3 of warm-up, 6 constant, 6 of decay."""


class PowerCut(pl.Callback):
    """Ends the run when an epoch begins."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("power cut")


def make(folder, callbacks=(), **changes):
    folder.mkdir(exist_ok=True)
    summary = carry_out(settings(trainer=ACCUMULATED, **{**OF_THE_RUN, **changes}), folder, callbacks=list(callbacks))
    check_outcome(summary)
    return summary


def applied(folder):
    with open(folder / "lr.csv") as file:
        return [float(row["lr"]) for row in csv.DictReader(file) if row["group"] == "0"]


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """The last checkpoints of the run, stopped before epochs 2 and 4: in its constant segment, and in its decay."""
    made = {}
    for epoch in (2, 4):
        folder = tmp_path_factory.mktemp("cut")
        with pytest.raises(RuntimeError, match="power cut"):
            make(folder, [PowerCut(epoch)])
        made[epoch] = str(folder / "checkpoints/last.ckpt")
    return made


def test_a_run_applies_the_rates_of_its_segments_under_accumulation(tmp_path):
    summary = make(tmp_path)
    decay = [0.01 + 0.09 * (1 - (step / 6) ** 0.5) for step in range(6)]
    assert applied(tmp_path) == pytest.approx([0, 0.1 / 3, 0.2 / 3, *[0.1] * 6, *decay], abs=1e-15)
    assert summary["schedule"]["verdict"].startswith("planned = applied")


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_resume_goes_on_with_the_same_rates(tmp_path, cut, epoch):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    make(whole)
    make(resumed, resume_from=cut[epoch])
    assert applied(whole)[3 * epoch :] == applied(resumed)[-(15 - 3 * epoch) :]


def test_a_constant_segment_grows_with_the_run(tmp_path, cut, caplog):
    make(tmp_path, resume_from=cut[2], epochs=10, on_schedule_change="extend")
    assert "segment 2 (constant) grows from 6 steps to 15 steps" in caplog.text
    assert applied(tmp_path)[-24:-11] == [pytest.approx(0.1)] * 13 and applied(tmp_path)[-1] < 0.02


def test_a_decay_that_has_begun_is_not_extended(tmp_path, cut):
    for decision in ("error", "extend"):
        with pytest.raises(UserError) as caught:
            make(tmp_path, resume_from=cut[4], epochs=10, on_schedule_change=decision)
        said = str(caught.value)
        assert "segment 2 (constant) grows from 6 steps to 15 steps" in said
        assert "segment 3 (1-sqrt) begins at step 18 in place of 9, grows from 6 steps to 12 steps" in said
        assert "extend (follow" not in said
    assert "the 1-sqrt decay, began at step 9 and the checkpoint is at step 12" in said
    assert "Fork before the decay" in said


def test_other_segments_of_a_resumed_run_are_a_change_of_the_plan(tmp_path, cut):
    changed = {"segments": [*WSD["segments"][:2], {"length": "40%", "shape": "linear", "to": 0}]}
    with pytest.raises(UserError, match=r"segment 3 \(1-sqrt\) becomes linear, 6 steps"):
        make(tmp_path, resume_from=cut[2], schedule=changed)
    make(tmp_path, resume_from=cut[2], schedule=changed, on_schedule_change="extend")
    assert applied(tmp_path)[-1] == pytest.approx(0.1 / 6)
