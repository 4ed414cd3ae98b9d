"""Both trainings through the engine: schedules, freezing, checkpoints that suffice, and the summary."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from partoken.errors import UserError
from partoken.satellite.model.lora import LowRankLinear
from partoken.satellite.model.saved import find_checkpoint, load_network, load_translator
from partoken.satellite.task import Stage1Task, Stage2Task
from partoken.system.checkpoint import read_checkpoint
from partoken.training.engine import carry_out, check_outcome
from tests.satellite.made import data_settings, make_batch
from tests.training.runs import settings
from tests.training.test_epoch_state import Stop, numbers, stopped

DATA = {"_target_": "tests.satellite.made.MadeData"}
FIRST = {
    "_target_": "partoken.satellite.task.Stage1Task",
    "channels": [6, 8],
    "depths": [1, 1],
    "drop_rate": 0.0,
}
SECOND = {
    "_target_": "partoken.satellite.task.Stage2Task",
    "refiner_channels": 6,
    "refiner_blocks": 1,
    "discriminator_channels": 2,
    "drop_rate": 0.0,
}
TRAIN = {"batch_size": 1, "monitor": "val_psnr", "monitor_mode": "max", "lr": 0.01, "optimizer": "adamw", "epochs": 2}
METRICS = {"psnr", "psnr_03", "ssim", "ssim_03", "mae", "angle", "ndvi_error"}


def run(folder, model, trainer=(), **train):
    folder.mkdir(exist_ok=True)
    train = {**TRAIN, "warmup_steps": 1, **train}
    group = settings(data=DATA, model=model, trainer={"accumulate_grad_batches": 4, **dict(trainer)}, **train)
    group["model"] = model
    summary = carry_out(group, folder)
    check_outcome(summary)
    return summary


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
    """The run folder and the summary of a stage 1."""
    folder = tmp_path_factory.mktemp("stage1")
    return SimpleNamespace(folder=folder, summary=run(folder, FIRST))


@pytest.fixture(scope="module")
def stage2(stage1, tmp_path_factory):
    """The run folder and the summary of a stage 2."""
    folder = tmp_path_factory.mktemp("stage2")
    model = {**SECOND, "stage1_checkpoint": str(stage1.folder)}
    own = {"discriminator": {"lr": 1e-3, "warmup_steps": 2}}
    return SimpleNamespace(folder=folder, summary=run(folder, model, optimizers=own))


def first_task(**model):
    torch.manual_seed(0)
    own = {key: value for key, value in FIRST.items() if key != "_target_"}
    return Stage1Task(train=TRAIN, data=data_settings(), **{**own, **model})


def second_task(stage1, **model):
    torch.manual_seed(0)
    own = {key: value for key, value in SECOND.items() if key != "_target_"}
    return Stage2Task(train=TRAIN, data=data_settings(), **{**own, "stage1_checkpoint": str(stage1.folder), **model})


def test_stage_1_has_its_scores_beside_those_of_simple_answers(stage1):
    summary = stage1.summary
    assert set(summary["test"]) == {*METRICS, "loss"}
    assert set(summary["baselines"]) == {"median", "ridge"}
    assert set(summary["baselines"]["ridge"]) == METRICS
    assert set(summary["per_band"]["own"]) == {"b2", "b3", "b4", "b8"}
    assert "data range 1" in summary["facts"]["scores"]
    assert {"parameters", "b8"} < set(summary["facts"])
    assert summary["test"]["psnr"] - summary["test"]["psnr_03"] == pytest.approx(10.4576, abs=1e-3)
    assert "tiles_per_second" in summary


def test_stage_2_has_two_schedules_and_the_scores_of_stage_1(stage2):
    summary = stage2.summary
    plans = summary["schedule"]["optimizers"]
    assert set(plans) == {"refiner", "discriminator"}
    assert {plan["steps"] for plan in plans.values()} == {plan["planned_steps"] for plan in plans.values()} == {4}
    assert set(summary["baselines"]) == {"median", "ridge", "stage 1"}
    assert summary["facts"]["parameters"].count(",") >= 2


def test_a_checkpoint_of_stage_1_suffices_to_predict(stage1):
    saved, batch = load_network(stage1.folder), make_batch(2)
    task = first_task()
    task.load_state_dict(read_checkpoint(find_checkpoint(stage1.folder))["state_dict"])
    predicted = saved.predict(batch.s1, batch.s1_mask, batch.month, batch.biome)
    assert saved.stage == 1
    assert saved.data["source"] == {"tile_size": [24, 20]}
    torch.testing.assert_close(predicted, saved.network(batch.s1, batch.s1_mask))
    assert {name: value.shape for name, value in task.network.state_dict().items()} == {
        name: value.shape for name, value in saved.network.state_dict().items()
    }


def test_a_checkpoint_of_stage_2_suffices_to_predict_without_that_of_stage_1(stage1, tmp_path):
    first = tmp_path / "first"
    shutil.copytree(stage1.folder, first)
    run(tmp_path / "second", {**SECOND, "stage1_checkpoint": str(first)}, epochs=1)
    shutil.rmtree(first)
    saved, batch = load_network(tmp_path / "second" / "checkpoints" / "best.ckpt"), make_batch(2)
    assert saved.stage == 2
    expected, _ = load_translator(stage1.folder)
    first_answer, refined = saved.network(batch.s1, batch.s1_mask, batch.month, batch.biome)
    torch.testing.assert_close(first_answer, expected(batch.s1, batch.s1_mask))
    torch.testing.assert_close(saved.predict(batch.s1, batch.s1_mask, batch.month, batch.biome), refined)
    again = Stage2Task.load_from_checkpoint(tmp_path / "second" / "checkpoints" / "best.ckpt", weights_only=True)
    torch.testing.assert_close(again.eval().answers(batch)["own"], refined)


def test_stage_2_resumes(stage2, stage1, tmp_path):
    model = {**SECOND, "stage1_checkpoint": str(stage1.folder)}
    own = {"discriminator": {"lr": 1e-3, "warmup_steps": 2}}
    resumed = run(
        tmp_path / "resumed",
        model,
        optimizers=own,
        epochs=3,
        resume_from=str(stage2.folder / "checkpoints" / "last.ckpt"),
        on_schedule_change="extend",
    )
    assert resumed["epochs"] == 3


def test_stage_2_leaves_stage_1_as_it_is_and_trains_the_others(stage1, stage2):
    before, _ = load_translator(stage1.folder)
    state = read_checkpoint(stage2.folder / "checkpoints" / "last.ckpt")["state_dict"]
    for name, value in before.state_dict().items():
        assert torch.equal(state[f"network.translator.{name}"], value)
    untrained = second_task(stage1).state_dict()
    changed = {name.split(".")[0] for name, value in state.items() if not torch.equal(value, untrained[name])}
    assert changed == {"network", "discriminator"}


def test_stage_2_without_stage_1_names_the_key():
    with pytest.raises(UserError, match=r"data\.stage1_dir=null: .* name the run folder of stage 1"):
        Stage2Task(train=TRAIN, data=data_settings())


def test_what_is_no_stage_1_is_rejected(stage1, stage2, tmp_path):
    with pytest.raises(UserError, match=r"best\.ckpt is of stage 2; data\.stage1_dir takes a stage 1"):
        second_task(stage1, stage1_checkpoint=str(stage2.folder))
    with pytest.raises(UserError, match=r"has no checkpoints/best\.ckpt"):
        second_task(stage1, stage1_checkpoint=str(tmp_path))
    with pytest.raises(UserError, match="no such checkpoint"):
        second_task(stage1, stage1_checkpoint=str(tmp_path / "missing.ckpt"))
    torch.save({"state_dict": {}, "hyper_parameters": {"size": 3}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"contains no satellite network: its hyper-parameters are \['size'\]"):
        second_task(stage1, stage1_checkpoint=str(tmp_path / "other.ckpt"))


@pytest.mark.parametrize("name", ["l1", "l2", "ssim", "edges", "angle"])
def test_every_weight_of_stage_1_changes_the_gradient(name):
    batch = make_batch(2, seed=5)
    none = {f"lambda_{key}": 0.0 for key in ("l1", "l2", "ssim", "edges", "angle")}
    task = first_task(**{**none, f"lambda_{name}": 2.0})
    answers = task.answers(batch)
    terms = task.terms(answers, batch)
    assert task.weigh(terms).item() == pytest.approx(2 * terms[name].item())
    task.weigh(terms).backward()
    assert any(p.grad is not None and p.grad.any() for p in task.parameters())
    silent = first_task(**none)
    assert silent.weigh(silent.terms(silent.answers(batch), batch)) == 0


def test_the_loss_of_stage_2_is_the_weighted_sum_of_its_terms(stage1):
    task, batch = second_task(stage1, lambda_ndvi=0.7), make_batch(2)
    terms = task.terms(task.answers(batch), batch)
    assert list(terms) == list(task.loss_weights)
    expected = sum(task.loss_weights[name] * value for name, value in terms.items())
    assert task.weigh(terms).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_adversarial_loss_teaches_the_refiner_and_not_the_discriminator(stage1):
    task, batch = second_task(stage1), make_batch(2)
    task.terms(task.answers(batch), batch)["adversarial"].backward()
    assert all(parameter.grad is None for parameter in task.discriminator.parameters())
    assert task.network.refiner.head.weight.grad.any()


def test_beside_adapters_the_adapted_network_stays_frozen_in_every_epoch():
    task = first_task(lora_rank=2, lora_targets=["*expand", "*reduce"])
    task.freeze_parts([])
    learning = {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    assert learning and all(name.endswith((".up", ".down")) for name in learning)
    task.freeze_parts(["network.backbone.unet.encoder"])
    fewer = {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    assert fewer and all("decoder" in name for name in fewer)


def test_adapters_are_merged_when_a_checkpoint_is_loaded(tmp_path, stage1):
    model = {**FIRST, "lora_rank": 2, "lora_targets": ["*expand", "*reduce"]}
    run(tmp_path / "adapted", model, epochs=1)
    saved = load_network(tmp_path / "adapted")
    assert not any(isinstance(module, LowRankLinear) for module in saved.network.modules())
    task = second_task(stage1, stage1_checkpoint=str(tmp_path / "adapted"))
    batch = make_batch(1)
    torch.testing.assert_close(task.eval().answers(batch)["stage 1"], saved.network(batch.s1, batch.s1_mask))
    assert task.hparams["stage1"]["model"]["lora_rank"] == 0


@pytest.mark.parametrize("precision", ["bf16-mixed"])
def test_half_precision_trains_both_stages(tmp_path, stage1, precision):
    for number, model in enumerate((FIRST, {**SECOND, "stage1_checkpoint": str(stage1.folder)})):
        summary = run(tmp_path / str(number), model, {"precision": precision}, epochs=1)
        assert summary["test"]["loss"] < 1


def test_accumulating_single_tiles_gives_the_gradient_of_the_large_batch():
    batch = make_batch(3, dtype=torch.float64)
    large, single = first_task().double(), first_task().double()
    large.weigh(large.terms(large.answers(batch), batch)).backward()
    keys = ("s1", "s1_mask", "s2", "s2_mask", "month", "biome", "ids", "scenes")
    for place in range(3):
        one = type(batch)(*(getattr(batch, key)[place : place + 1] for key in keys))
        (single.weigh(single.terms(single.answers(one), one)) / 3).backward()
    for a, b in zip(large.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)


def test_both_stages_leave_pictures_of_test_tiles_and_name_their_prediction(stage1, stage2):
    for part in (stage1, stage2):
        panels = part.summary["panels"]
        assert set(panels) == {"test_tiles", "test_ndvi"}
        assert (part.folder / panels["test_tiles"]["file"]).is_file()
        assert read_checkpoint(part.folder / "checkpoints" / "best.ckpt")["partoken_predict"] == (
            "partoken.satellite.predict"
        )


@pytest.mark.parametrize("batch", [1, 3, 7], ids=["within a step", "after a step", "in the second epoch"])
def test_two_optimizers_go_on_exactly_within_an_epoch(batch, stage1, tmp_path):
    model = {**SECOND, "stage1_checkpoint": str(stage1.folder), "drop_rate": 0.1}
    train = {**TRAIN, "warmup_steps": 1, "optimizers": {"discriminator": {"lr": 1e-3}}}
    group = {**settings(data=DATA, trainer={"accumulate_grad_batches": 4}, **train), "model": model}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    carry_out(group, whole)
    stopped(group, parts, Stop(batch))
    assert numbers(parts) == numbers(whole)
