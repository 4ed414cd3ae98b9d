"""Both trainings as stages of one run: stored outputs, schedules of each optimizer, resume."""

import json

import numpy as np
import pytest
import torch

from partoken.composition import plain_group
from partoken.config import compose
from partoken.errors import UserError
from partoken.satellite.model.saved import load_network
from partoken.system.checkpoint import read_checkpoint
from partoken.system.tables import read_table
from partoken.training import checks, stage_run
from partoken.training.engine import carry_out, check_outcome
from partoken.training.settings import TrainSettings
from tests.satellite.made_tiles import write_scenes
from tests.training.test_continuing import StopIn

SMALL = (
    "train.stages.stage1.epochs=1",
    "train.stages.stage2.epochs=2",
    "model.channels=[6,8]",
    "model.depths=[1,1]",
    "train.stages.stage2.model.refiner_channels=6",
    "train.stages.stage2.model.refiner_blocks=1",
    "train.stages.stage2.model.discriminator_channels=2",
    "trainer.accumulate_grad_batches=2",
    "trainer.enable_progress_bar=false",
    "data=tiles",
)


def groups(folder, root, *overrides):
    cfg = compose(["experiment=axion", *SMALL, f"data.root={root}", *overrides])
    settings = {group: plain_group(cfg, group) for group in ("train", "trainer", "model", "data")}
    settings["train"]["stages"]["stage2"]["data"]["stage1_dir"] = f"{folder}/checkpoints/stage1"
    return settings


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("tiles"), north=4, south=2, east=2)


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("axion")
    summary = carry_out(groups(folder, root), folder)
    check_outcome(summary)
    return folder, summary


def test_stage_1_stores_its_output_for_every_tile(whole, root):
    folder, _ = whole
    outputs = folder / "checkpoints/stage1/outputs"
    assert {file.name for file in outputs.iterdir()} == {file.name for file in root.rglob("*.npz")}
    network = load_network(folder / "checkpoints/stage1/best.ckpt")
    tile = np.load(next(root.rglob("north_0_*.npz")))
    s1 = torch.from_numpy(np.stack([tile["s1_vv"], tile["s1_vh"]]))[None]
    unknown = torch.zeros(1, dtype=torch.int64)
    expected = network.predict(s1, torch.ones(1, 16, 16, dtype=torch.bool), unknown, unknown)[0]
    stored = np.load(next(outputs.glob("north_0_*.npz")))
    bands = np.stack([stored[name] for name in ("s2_b2", "s2_b3", "s2_b4", "s2_b8")])
    # Radar is kept in steps of 0.01 dB, reflectance in steps of 0.0001.
    np.testing.assert_allclose(bands / 10_000, expected.numpy(), atol=2e-3)


def test_both_optimizers_of_stage_2_follow_plans_of_their_own(whole):
    folder, summary = whole
    steps = {}
    for row in read_table(folder / "lr.csv"):
        steps.setdefault(row["optimizer"], set()).add(int(row["step"]))
    first = len(steps[""])
    assert steps["refiner"] == steps["discriminator"] == set(range(first, 3 * first))
    schedule = summary["schedule"]
    assert set(schedule["optimizers"]) == {"", "refiner", "discriminator"}
    assert schedule["steps"] == schedule["planned_steps"] == 5 * first
    refiner, discriminator = (
        summary["stages"][1]["schedule"]["optimizers"][name]["plan"]["lr"] for name in steps if name
    )
    assert (refiner, discriminator) == (5e-4, 1e-4)


def test_the_summary_compares_stage_2_with_stage_1(whole):
    _, summary = whole
    assert [part["name"] for part in summary["stages"]] == ["stage1", "stage2"]
    assert set(summary["baselines"]) == {"stage 1", "median", "ridge"}
    first, second = summary["baselines"]["stage 1"], summary["stages"][0]["test"]
    assert first["psnr"] == pytest.approx(second["psnr"], abs=0.01), "stored in steps of 0.0001"


def test_the_checkpoint_of_stage_2_predicts_alone(whole, tmp_path):
    folder, _ = whole
    alone = tmp_path / "alone.ckpt"
    alone.write_bytes((folder / "checkpoints/best.ckpt").read_bytes())
    network = load_network(alone)
    unknown = torch.zeros(1, dtype=torch.int64)
    output = network.predict(
        torch.full((1, 2, 16, 16), -12.0), torch.ones(1, 16, 16, dtype=torch.bool), unknown, unknown
    )
    assert network.stage == 2 and output.shape == (1, 4, 16, 16) and output.isfinite().all()


def test_a_run_stopped_in_stage_2_continues_in_another_folder_with_the_same_numbers(whole, root, tmp_path):
    stopped, resumed = tmp_path / "stopped", tmp_path / "resumed"
    for folder in (stopped, resumed):
        folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_run, "stopping_callbacks", lambda train: [StopIn("stage2", 2)])
        with pytest.raises(RuntimeError, match="power cut"):
            carry_out(groups(stopped, root), stopped)
    source = f"train.resume_from={stopped}/checkpoints/last.ckpt"
    carry_out(groups(resumed, root, source), resumed)
    ours, theirs = (read_checkpoint(path / "checkpoints/last.ckpt")["state_dict"] for path in (resumed, whole[0]))
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    assert (resumed / "lr.csv").read_text() == (whole[0] / "lr.csv").read_text()
    assert (resumed / "checkpoints/stage1/outputs").is_dir()
    assert json.loads((resumed / "summary.json").read_text())["test"] == whole[1]["test"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.stages.stage1.freeze=[network.backbon]", ["train.stages.stage1.freeze", "network.backbone"]),
        ("train.stages.stage2.freeze=[network,discriminator]", ["train.stages.stage2", "nothing is left to train"]),
        ("train.stages.stage2.model.refiner_blocs=2", ["stage stage2", "model.refiner_blocs", "refiner_blocks"]),
        ("train.stages.stage2.optimizers.refiner.lr=-1", ["train.stages.stage2.optimizers.refiner.lr=-1"]),
    ],
    ids=str,
)
def test_a_stage_that_does_not_fit_its_model_is_rejected_before_data_is_read(tmp_path, root, override, words):
    with pytest.raises(UserError) as caught:
        settings = groups(tmp_path, root, override)
        settings["data"] = {"_target_": "tests.unread.Unread"}
        checks.check_before_reading(TrainSettings.read(settings["train"]), settings)
    assert all(word in str(caught.value) for word in words), caught.value


def test_an_optimizer_that_the_model_does_not_have_is_rejected_by_its_stage(tmp_path, root):
    with pytest.raises(UserError, match=r"train\.stages\.stage2\.optimizers\.refner.*refiner"):
        carry_out(groups(tmp_path, root, "train.stages.stage2.optimizers.refner={}"), tmp_path)
