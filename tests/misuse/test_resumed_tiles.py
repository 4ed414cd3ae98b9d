"""A resume of a run on tiles takes the settings that it accepts."""

import json

import pytest

from partoken.cli import main
from partoken.system.checkpoint import read_checkpoint
from tests.misuse.table import TINY_TILES, run_here


@pytest.mark.filterwarnings("default")
def test_a_resume_of_tiles_applies_the_settings_that_it_accepts(places, tmp_path):
    last = places["TILED"] / "checkpoints/last.ckpt"
    changed = ["model.drop_rate=0.5", "model.lambda_l1=3.0", "data.passes_per_epoch=2", "train.weight_decay=0.5"]
    resumed = [f"train.resume_from={last}", "train.on_schedule_change=extend", f"hydra.run.dir={tmp_path}"]
    assert run_here(main, ["train", *TINY_TILES, *changed, *resumed]) == 0
    settings = read_checkpoint(tmp_path / "checkpoints/last.ckpt")["hyper_parameters"]
    before = read_checkpoint(last)["hyper_parameters"]
    assert (before["drop_rate"], settings["drop_rate"]) == (0.2, 0.5)
    assert (before["lambda_l1"], settings["lambda_l1"]) == (1.0, 3.0)
    assert settings["train"]["weight_decay"] == 0.5
    assert json.loads((tmp_path / "summary.json").read_text())["schedule"]["steps"] == 1 + 2
