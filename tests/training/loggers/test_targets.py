"""Which loggers a configuration may name."""

import importlib.util

import pytest

from partoken.errors import UserError
from partoken.training.loggers.targets import check_loggers, logger_nodes
from partoken.training.settings import TrainSettings
from tests.training.runs import TRAIN

MINE = {"_target_": "tests.training.loggers.recorded.Recorded"}


def train(**changes):
    return TrainSettings.read({**TRAIN, **changes})


@pytest.mark.parametrize("logger", [None, {}])
def test_no_logger_is_allowed(logger):
    assert logger_nodes({"logger": logger}, train()) == {}


def test_several_loggers_stand_side_by_side_with_the_one_of_use_wandb():
    nodes = logger_nodes({"logger": {"mine": MINE, "other": MINE}}, train(use_wandb=True, wandb_project="toy"), "run")
    assert list(nodes) == ["mine", "other", "wandb"]
    assert nodes["wandb"] == {
        "_target_": "pytorch_lightning.loggers.WandbLogger",
        "project": "toy",
        "save_dir": "run",
    }


def test_use_wandb_adds_no_second_logger_of_that_name():
    own = {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "mine"}
    assert logger_nodes({"logger": {"wandb": own}}, train(use_wandb=True)) == {"wandb": own}


@pytest.mark.parametrize(
    ("logger", "words"),
    [
        ("tensorboard", ["logger='tensorboard'", "mapping"]),
        (MINE, ["logger._target_=tests", "needs a name", "logger.NAME._target_"]),
        ({"mine": "x"}, ["logger.mine='x'", "_target_"]),
        ({"mine": {"path": "x"}}, ["logger.mine=", "_target_"]),
        ({"mine": {"_target_": "builtins.print"}}, ["logger.mine._target_=builtins.print", "not allowed"]),
        (
            {"mine": {"_target_": "torch.nn.Linear"}},
            ["logger.mine._target_=torch", "no logger", "subclasses"],
        ),
        ({"mine": {"_target_": "tests.missing.X"}}, ["tests.missing.X", "cannot be found", "PYTHONPATH"]),
        ({"mine": {"_target_": "Recorded"}}, ["_target_=Recorded", "MODULE.CLASS"]),
        ({"mine": {"_target_": "pytorch_lightning.loggers.TensorBoard"}}, ["loggers.TensorBoard", "cannot be found"]),
    ],
)
def test_what_is_no_logger_is_refused_with_its_name(logger, words):
    with pytest.raises(UserError) as error:
        check_loggers({"logger": logger}, train())
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("kind", "package"), [("TensorBoardLogger", "tensorboard"), ("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow")]
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, kind, package):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(UserError, match=rf'logger.x needs the package {package}.*"\.\[{package}\]"'):
        check_loggers({"logger": {"x": {"_target_": f"pytorch_lightning.loggers.{kind}"}}}, train())


def test_a_wrong_label_is_found_with_the_loggers():
    with pytest.raises(UserError, match=r"run\.tags"):
        check_loggers({"run": {"tags": "paper"}}, train())
