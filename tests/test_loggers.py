"""The options of the logger group: none by default, every option composes, and several stand side by side."""

import pytest

from partoken.config import CONF, compose, plain_group
from partoken.errors import UserError

OPTIONS = sorted(file.stem for file in (CONF / "logger").glob("*.yaml"))
NAMED = [option for option in OPTIONS if option != "none"]


@pytest.mark.parametrize("overrides", [[], ["logger=none"]], ids=["default", "logger=none"])
def test_without_a_logger_the_group_is_empty(overrides):
    assert plain_group(compose(overrides), "logger") == {}


@pytest.mark.parametrize("option", NAMED)
def test_a_logger_option_names_a_lightning_logger_and_how_to_run_it(option):
    [(name, node)] = plain_group(compose([f"logger={option}"]), "logger").items()
    assert name == option
    assert node["_target_"].startswith("pytorch_lightning.loggers.")
    assert f"python run_partoken.py logger={option}" in (CONF / f"logger/{option}.yaml").read_text()


def test_several_loggers_are_chosen_at_once_and_one_is_added():
    cfg = compose(["logger=[tensorboard,mlflow]", "+logger.mine._target_=tests.Logger"])
    assert list(plain_group(cfg, "logger")) == ["tensorboard", "mlflow", "mine"]


def test_a_logger_of_the_user_comes_from_a_folder_of_yaml_files(tmp_path):
    (tmp_path / "logger").mkdir()
    (tmp_path / "logger/mine.yaml").write_text("mine:\n  _target_: tests.Logger\n")
    cfg = compose(["logger=[wandb,mine]"], tmp_path)
    assert list(plain_group(cfg, "logger")) == ["wandb", "mine"]
    with pytest.raises(UserError, match=r"logger=mien: no such option.*Did you mean mine"):
        compose(["logger=[wandb,mien]"], tmp_path)


def test_name_and_tags_of_a_run_are_keys():
    assert plain_group(compose(["run.name=base", "run.tags=[a,b]"]), "run") == {"name": "base", "tags": ["a", "b"]}


@pytest.mark.parametrize("choice", ["tensorbord", "[mlflow,tensorbord]"])
def test_an_unknown_logger_is_an_error_that_lists_the_options(choice):
    with pytest.raises(UserError, match=f"choose from {', '.join(OPTIONS)}. Did you mean tensorboard"):
        compose([f"logger={choice}"])


def test_a_key_without_the_name_of_the_logger_is_an_error_that_names_it():
    with pytest.raises(UserError, match=r"Did you mean logger\.tensorboard\.save_dir"):
        compose(["logger=tensorboard", "logger.save_dir=x"])
