"""The train settings: their defaults, their checks, and the settings of stages and optimizers."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import partoken
from partoken.config import CONF
from partoken.errors import UserError
from partoken.training.settings import TrainSettings

REQUIRED = {"monitor": "val_loss", "monitor_mode": "min"}


def read(**values):
    return TrainSettings.read({**REQUIRED, **values})


def test_the_defaults_are_those_of_the_configuration_file():
    file = OmegaConf.to_container(OmegaConf.load(CONF / "train/default.yaml"))
    assert set(file) - {"_target_"} == set(TrainSettings.names())
    chosen = {name: file[name] for name in REQUIRED}  # they depend on the task, so the class has no default
    assert TrainSettings(**chosen) == TrainSettings.read({**file, "schedule": None})  # a group of its own


def test_every_field_says_in_a_docstring_what_it_means():
    package = Path(partoken.__file__).parent
    text = (package / "training/settings.py").read_text() + (package / "schedule/settings.py").read_text()
    lines = text.splitlines()
    for item in dataclasses.fields(TrainSettings):
        declared = [number for number, line in enumerate(lines) if line.startswith(f"    {item.name}: ")]
        assert declared and all(lines[number + 1].startswith('    """') for number in declared), item.name


def test_plain_settings_give_the_same_settings_back():
    settings = read(stages=[{"epochs": 2, "freeze": ["a"]}], optimizers={"a": {"lr": 0.5}}, freeze=("b",))
    again = TrainSettings.read(settings.plain())
    assert again == settings
    assert isinstance(settings.plain()["freeze"], list)


def test_a_misspelt_key_is_named_with_the_closest_one():
    with pytest.raises(UserError, match=r"train\.warmup_epoch is not a key.*train\.warmup_epochs|warmup_epochs"):
        read(warmup_epoch=3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 0}, ["train.epochs=0", "whole number of 1 or more"]),
        ({"epochs": True}, ["train.epochs=True"]),
        ({"batch_size": 2.5}, ["train.batch_size=2.5"]),
        ({"num_workers": -1}, ["train.num_workers=-1", "0 or more"]),
        ({"seed": None}, ["train.seed=None"]),
        ({"optimizer": "adagrad"}, ["train.optimizer=adagrad", "adam, adamw or sgd"]),
        ({"weight_decay": -0.1}, ["train.weight_decay=-0.1"]),
        ({"monitor": ""}, ["train.monitor=''"]),
        ({"monitor_mode": "best"}, ["train.monitor_mode=best", "max or min"]),
        ({"early_stopping_patience": 0}, ["train.early_stopping_patience=0", "or null"]),
        ({"early_stopping_patience": "ten"}, ["train.early_stopping_patience='ten'"]),
        ({"resume_from": 3}, ["train.resume_from=3"]),
        ({"on_schedule_change": "extent"}, ["train.on_schedule_change=extent", "Did you mean extend?"]),
        ({"use_wandb": "yes"}, ["train.use_wandb='yes'", "true or false"]),
        ({"freeze": "network"}, ["train.freeze='network'", "list"]),
        ({"freeze": [3]}, ["train.freeze=[3]"]),
        ({"scheduler": "StepLR"}, ["train.scheduler='StepLR'", "_target_"]),
        ({"scheduler": {"step_size": 3}}, ["train.scheduler", "_target_"]),
        ({"scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR"}}, ["StepLR", "step_size"]),
        ({"scheduler": {"_target_": "torch.nn.Identity"}}, ["torch.nn.Identity", "not a learning-rate scheduler"]),
        ({"stages": "all"}, ["train.stages='all'", "list of stages"]),
        ({"stages": [3]}, ["train.stages[0]=3", "mapping"]),
        ({"stages": [{"epochs": 2}, {"epochs": 2.5}]}, ["train.stages[1].epochs=2.5"]),
        ({"stages": [{"epochs": 2, "lr": 0}]}, ["train.stages[0].lr=0"]),
        ({"stages": [{"epochs": 2, "freeze": "a"}]}, ["train.stages[0].freeze='a'"]),
        ({"stages": [{"epochs": 2, "seed": 1}]}, ["train.stages[0].seed", "allowed"]),
        ({"stages": {}}, ["train.stages={}", "by name"]),
        ({"stages": {"a b": {"epochs": 2}}}, ["train.stages.a b", "letters"]),
        ({"stages": {"warm": {"epochs": 2}, "joint": {"epoch": 2}}}, ["train.stages.joint.epoch", "epochs"]),
        ({"optimizers": {}}, ["train.optimizers={}"]),
        ({"optimizers": {"a b": {}}}, ["train.optimizers.a b", "letters"]),
        ({"optimizers": {"a": 3}}, ["train.optimizers.a=3"]),
        ({"optimizers": {"a": {"rate": 3}}}, ["train.optimizers.a.rate", "allowed"]),
        ({"optimizers": {"a": {"weight_decay": -1}}}, ["train.optimizers.a.weight_decay=-1"]),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_used_is_rejected_by_its_key(values, words):
    with pytest.raises(UserError) as caught:
        read(**values)
    for word in words:
        assert word in str(caught.value)


def test_a_run_without_stages_is_one_stage_without_a_length():
    (stage,) = read(lr=0.3).run_stages()
    assert stage.epochs is None and stage.settings.lr == 0.3


def test_stages_have_their_names_and_keys():
    stages = read(stages={"warm": {"epochs": 1}, "joint": {"epochs": 2, "lr": 0.1}}).run_stages()
    assert [(stage.name, stage.epochs) for stage in stages] == [("warm", 1), ("joint", 2)]
    assert stages[1].settings.key("lr") == "train.stages.joint.lr"
    listed = read(stages=[{"epochs": 1}, {"epochs": 2}]).run_stages()
    assert [stage.name for stage in listed] == ["1", "2"]


def test_an_optimizer_wins_over_a_stage_and_a_stage_over_train():
    settings = read(lr=1.0, stages=[{"epochs": 1}, {"epochs": 2, "lr": 0.1}], optimizers={"a": {"lr": 0.5}, "b": {}})
    assert [stage.settings.lr for stage in settings.run_stages("a")] == [0.5, 0.5]
    assert [stage.settings.lr for stage in settings.run_stages("b")] == [1.0, 0.1]
    assert settings.run_stages("a")[0].settings.key("lr") == "train.optimizers.a.lr"
    assert settings.run_stages("b")[1].settings.key("lr") == "train.stages[1].lr"
    assert settings.run_stages("b")[0].settings.key("lr") == "train.lr"


def test_settings_import_no_torch():
    code = "import sys, partoken.training.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_epoch_number_beside_stages_has_no_effect():
    assert read(stages=[{"epochs": 2}]).without_effect() == []
    (sentence,) = read(stages=[{"epochs": 2}], epochs=20).without_effect()
    assert sentence.startswith("train.epochs=20 has no effect")
    assert read(epochs=20).without_effect() == []


def test_short_stages_have_a_warmup_a_ramp_and_frozen_epochs_that_fit():
    stages = {
        "first": {"steps": 900, "warmup_steps": 100, "optimizers": {"generator": {"lr": 0.1, "warmup_steps": 50}}},
        "second": {"epochs": 9, "ramp_epochs": 5, "freeze_last": ["network"], "freeze_last_epochs": 4},
    }
    chosen = {"schedule_interval": "step", "warmup_epochs": 3, "monitor": "val_loss", "monitor_mode": "min"}
    two, one = (TrainSettings(stages=stages, stage_epochs=number, **chosen) for number in (2, 1))
    first, second = two.run_stages("generator")
    assert (first.epochs, first.steps, first.settings.warmup_steps, first.settings.warmup_epochs) == (
        2,
        None,
        None,
        None,
    )
    assert first.settings.lr == 0.1
    assert (second.epochs, second.ramp_epochs, second.freeze_last, second.freeze_last_epochs) == (2, 2, ("network",), 1)
    assert (one.run_stages()[1].freeze_last, one.run_stages()[1].freeze_last_epochs) == ((), 0)


def test_the_length_of_stages_without_stages_has_no_effect_unless_a_preset_gives_both():
    monitor = {"monitor": "val_loss", "monitor_mode": "min"}
    assert TrainSettings(epochs=2, stage_epochs=2, **monitor).without_effect() == []
    [sentence] = TrainSettings(epochs=2, stage_epochs=3, **monitor).without_effect()
    assert sentence == "train.stage_epochs=3 has no effect: the run has no train.stages"
