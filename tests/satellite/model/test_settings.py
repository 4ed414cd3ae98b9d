"""Settings of both stages: defaults, checks, and how the flat keys are sorted."""

from dataclasses import asdict, fields

import pytest
from omegaconf import OmegaConf

from partoken.config import CONF, compose
from partoken.errors import UserError
from partoken.satellite.model.settings import (
    RefinerSettings,
    Stage1Losses,
    Stage2Losses,
    TranslatorSettings,
    split_stage1,
    split_stage2,
)

STAGES = {
    "axion_stage1": (split_stage1, TranslatorSettings, Stage1Losses),
    "axion_stage2": (split_stage2, RefinerSettings, Stage2Losses),
}
stages = pytest.mark.parametrize("name", STAGES)


@stages
def test_the_yaml_file_and_the_dataclasses_have_the_same_keys_and_defaults(name):
    conf = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    del conf["_target_"]
    split, *kinds = STAGES[name]
    defaults = {key: value for kind in kinds for key, value in asdict(kind()).items()}
    assert conf == {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    assert split(conf) == tuple(kind() for kind in kinds)


@stages
def test_no_key_belongs_to_both_groups(name):
    _, network, loss = STAGES[name]
    assert not {item.name for item in fields(network)} & {item.name for item in fields(loss)}


def test_every_weight_has_the_name_of_its_term():
    weights = Stage1Losses(lambda_l1=1, lambda_l2=2, lambda_ssim=3, lambda_edges=4, lambda_angle=5).by_name()
    assert weights == {"l1": 1, "l2": 2, "ssim": 3, "edges": 4, "angle": 5}


def test_an_unknown_key_is_rejected_with_the_nearest_known_key():
    with pytest.raises(UserError, match=r"model\.depth is not a setting of stage 1\. Did you mean model\.depths\?"):
        split_stage1({"depth": [1]})
    with pytest.raises(UserError, match=r"model\.lambda_evil .* stage 2\. Did you mean model\.lambda_evi\?"):
        split_stage2({"lambda_evil": 1})


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("backbone", "vit", "choose unet, file or terratorch"),
        ("start_from", "median", "choose ridge or mean"),
        ("channels", [], "a list of whole numbers"),
        ("channels", 16, "a list of whole numbers"),
        ("channels", [16, 0, 8, 8], "a whole number of 1 or more"),
        ("depths", [1, 1], "one number for each of the 4 levels"),
        ("drop_rate", 1.0, "below 1"),
        ("lora_rank", -1, "a whole number of 0 or more"),
        ("lora_targets", "*attn*", "a list of patterns"),
        ("lora_targets", [], "a list of patterns"),
        ("terratorch_timesteps", 0, "a whole number of 1 or more"),
        ("terratorch_pretrained", "no", "true or false"),
        ("checkpoint_activations", 1, "true or false"),
        ("backbone_file", "weights.pt", "with model.backbone=file only"),
        ("backbone_class", {"_target_": "torch.nn.Identity"}, "with model.backbone=file only"),
        ("backbone_class", {"width": 4}, "a mapping with _target_"),
    ],
)
def test_a_bad_value_of_stage_1_is_rejected_by_its_key(key, value, allowed):
    with pytest.raises(UserError) as error:
        TranslatorSettings(**{key: value})
    assert str(error.value).startswith(f"model.{key}=")
    assert allowed in str(error.value)


def test_a_file_backbone_needs_a_file():
    with pytest.raises(UserError, match=r"model\.backbone=file: needs model\.backbone_file"):
        TranslatorSettings(backbone="file")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stage1_checkpoint", ""),
        ("refiner_channels", 0),
        ("refiner_blocks", 1.5),
        ("condition_size", True),
        ("drop_rate", -0.1),
        ("use_month", "yes"),
    ],
)
def test_a_bad_value_of_stage_2_is_rejected_by_its_key(key, value):
    with pytest.raises(UserError, match=rf"model\.{key}="):
        RefinerSettings(**{key: value})


@pytest.mark.parametrize("kind", [Stage1Losses, Stage2Losses])
@pytest.mark.parametrize("value", [-1, float("nan"), "much", None, True])
def test_a_weight_that_is_below_zero_or_no_number_is_rejected(kind, value):
    for item in fields(kind):
        with pytest.raises(UserError, match=rf"model\.{item.name}={value!r}: must be a number of 0 or more"):
            kind(**{item.name: value})


@pytest.mark.skipif(
    not (CONF / "data/tiles_embedded.yaml").exists(), reason="the data of the experiments is not there yet"
)
@stages
def test_the_experiment_trains_single_tiles_with_eight_accumulated(name):
    cfg = compose([f"experiment={name}"])
    assert (cfg.train.batch_size, cfg.trainer.accumulate_grad_batches, cfg.train.schedule_interval) == (1, 8, "step")
    assert cfg.trainer.gradient_clip_val == 1.0
    assert cfg.train.optimizer == "adamw"
