"""A stage: its keys, its parts of the model, and the weights with which it starts."""

import pytest
from torch import nn

from partoken.errors import UserError
from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage, WeightsSource, stage_class, weights_source


def read(stages, **train):
    return TrainSettings(stages=stages, monitor="val_loss", monitor_mode="min", **train).run_stages()


class Model(nn.Module):
    def __init__(self, loss_weights=()):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.head = nn.Linear(2, 1)
        self.loss_weights = dict.fromkeys(loss_weights, 1.0)


NAMED = {
    "first": {"epochs": 3},
    "second": {"epochs": 2, "weights_from": "best", "lr": 0.5, "monitor": "val_score"},
    "third": {"steps": 10, "weights_from": "first.last", "freeze": ["head"]},
    "fourth": {"epochs": 1, "weights_from": "initial"},
}


def test_a_stage_starts_with_the_checkpoint_that_it_names():
    stages = read(NAMED)
    expected = [None, WeightsSource("first", "best"), WeightsSource("first", "last"), None]
    assert [weights_source(stages, number) for number in range(4)] == expected


def test_a_stage_has_settings_of_its_own_and_takes_the_others_from_train():
    first, second, third, _ = read(NAMED, freeze=["encoder"], lr=0.1)
    assert [stage.settings.lr for stage in (first, second)] == [0.1, 0.5]
    assert [stage.settings.monitor for stage in (first, second)] == ["val_loss", "val_score"]
    assert [stage.freeze for stage in (first, third)] == [("encoder",), ("head",)]
    assert [(stage.epochs, stage.steps) for stage in (first, third)] == [(3, None), (None, 10)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights_from": "third.best"}, ["second.weights_from=third.best", "stage third does not come before"]),
        ({"weights_from": "third"}, ["stage third does not come before stage second"]),
        ({"weights_from": "second.last"}, ["stage second does not come before stage second"]),
        ({"weights_from": "frst.best"}, ["second.weights_from=frst.best", "Did you mean first.best?"]),
        ({"weights_from": "first.worst"}, ["second.weights_from=first.worst", "first.best, first.last"]),
        ({"weights_from": 3}, ["second.weights_from=3"]),
        ({"ramp_epochs": 3}, ["second.ramp_epochs=3", "2 epochs"]),
        ({"ramp_epochs": -1}, ["second.ramp_epochs=-1"]),
        ({"freeze_last": ["head"]}, ["second", "freeze_last_epochs", "both"]),
        ({"freeze_last_epochs": 1}, ["second", "freeze_last", "both"]),
        ({"freeze_last": ["head"], "freeze_last_epochs": 2}, ["second.freeze_last_epochs=2", "below 2"]),
        ({"freeze_last": "head", "freeze_last_epochs": 1}, ["second.freeze_last='head'", "list"]),
        ({"steps": 4}, ["second.epochs=2", "second.steps=4", "null"]),
        ({"epochs": None}, ["second.epochs=None", "second.steps=None"]),
        ({"steps": 0, "epochs": None}, ["second.steps=0"]),
        ({"model": 3}, ["second.model=3", "mapping"]),
        ({"_target_": "os.system"}, ["second._target_=os.system", "is not allowed"]),
        ({"_target_": "partoken.such.Stage"}, ["second._target_=partoken.such.Stage", "cannot be imported"]),
        ({"_target_": "torch.nn.Linear"}, ["second._target_=torch.nn.Linear", "TrainStage"]),
        ({"kmeans": 3}, ["second.kmeans", "allowed: epochs, steps"]),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_used_is_rejected_by_its_key(changes, words):
    with pytest.raises(UserError) as caught:
        read({**NAMED, "second": {"epochs": 2, **changes}})
    assert all(word in str(caught.value) for word in words), caught.value


def test_the_first_stage_has_no_stage_before_it():
    with pytest.raises(UserError, match="choose from initial"):
        read({"first": {"epochs": 3, "weights_from": "best"}})


@pytest.mark.parametrize(
    ("given", "file"),
    [("runs/a/last.ckpt", "runs/a/last.ckpt"), ("{folder}", "{folder}/checkpoints/best.ckpt")],
    ids=["checkpoint", "run folder"],
)
def test_the_first_stage_can_start_with_the_weights_of_another_run(given, file, tmp_path):
    given, file = given.format(folder=tmp_path), file.format(folder=tmp_path)
    of_run = TrainSettings(stages=NAMED, weights_from=given, monitor="val_loss", monitor_mode="min").run_stages()
    alone = TrainSettings(weights_from=given, monitor="val_loss", monitor_mode="min").run_stages()
    of_stage = read({"first": {"epochs": 1, "weights_from": given}})
    for stages in (of_run, alone, of_stage):
        source = weights_source(stages, 0)
        assert (source.stage, str(source.path(tmp_path / "here"))) == ("", file)
    assert weights_source(of_run, 1).stage == "first"


@pytest.mark.parametrize(
    ("given", "word"),
    [("best", "choose from initial"), ("none", "or name a run folder"), (3, "weights_from=3")],
)
def test_weights_that_name_nothing_are_refused(given, word):
    with pytest.raises(UserError, match=word):
        TrainSettings(weights_from=given, monitor="val_loss", monitor_mode="min")


def test_a_name_with_a_meaning_of_its_own_cannot_be_the_name_of_a_stage():
    with pytest.raises(UserError, match=r"train\.stages\.best"):
        read({"best": {"epochs": 3}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"freeze": ["encodr"]}, ["train.stages.first.freeze=encodr", "Did you mean encoder?"]),
        ({"freeze_last": ["hed"], "freeze_last_epochs": 1}, ["train.stages.first.freeze_last=hed", "head"]),
        ({"freeze": ["encoder", "head"]}, ["train.stages.first.freeze", "nothing is left to train"]),
        (
            {"freeze": ["encoder"], "freeze_last": ["head"], "freeze_last_epochs": 1},
            ["train.stages.first.freeze_last", "nothing is left to train"],
        ),
        ({"ramp_epochs": 1}, ["train.stages.first.ramp_epochs=1", "no weights"]),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_model_are_rejected(changes, words):
    (stage,) = read({"first": {"epochs": 3, **changes}})
    with pytest.raises(UserError) as caught:
        stage.check_model(Model())
    assert all(word in str(caught.value) for word in words), caught.value


def test_settings_that_fit_the_model_are_accepted():
    changes = {"freeze": ["encoder.0"], "freeze_last": ["head"], "freeze_last_epochs": 1, "ramp_epochs": 2}
    (stage,) = read({"first": {"epochs": 3, **changes}})
    stage.check_model(Model(loss_weights=["term"]))
    assert [stage.frozen(epoch, 3) for epoch in range(3)] == [("encoder.0",)] * 2 + [("encoder.0", "head")]


def test_a_group_of_a_stage_has_its_own_values_or_is_another_one():
    groups = {"model": {"_target_": "A", "size": 3, "depth": 1}, "data": {"root": "x"}}
    stages = read(
        {
            "first": {"epochs": 1, "model": {"size": 4}},
            "second": {"epochs": 1, "model": {"_target_": "B", "width": 2}, "data": {"root": "y"}},
        }
    )
    assert stages[0].groups(groups) == {"model": {"_target_": "A", "size": 4, "depth": 1}, "data": {"root": "x"}}
    assert stages[1].groups(groups) == {"model": {"_target_": "B", "width": 2}, "data": {"root": "y"}}
    assert groups["model"]["size"] == 3


def test_a_stage_without_a_target_is_a_train_stage():
    assert stage_class("train.stages.first", {"epochs": 3}) is TrainStage
