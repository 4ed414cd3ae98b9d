"""The options of the logger group: none by default, and every option composes."""

import pytest

from partoken.config import CONF, compose
from partoken.errors import UserError

OPTIONS = sorted(file.stem for file in (CONF / "logger").glob("*.yaml"))


@pytest.mark.parametrize("overrides", [[], ["logger=none"]], ids=["default", "logger=none"])
def test_without_a_logger_the_config_says_null(overrides):
    cfg = compose(overrides)
    assert "logger" in cfg
    assert cfg.logger is None


@pytest.mark.parametrize("option", [option for option in OPTIONS if option != "none"])
def test_a_logger_option_names_a_lightning_logger_and_how_to_run_it(option):
    target = compose([f"logger={option}"]).logger._target_
    assert target.startswith("pytorch_lightning.loggers.")
    assert f"python run_partoken.py logger={option}" in (CONF / f"logger/{option}.yaml").read_text()


def test_an_unknown_logger_is_an_error_that_lists_the_options():
    with pytest.raises(UserError, match=f"choose from {', '.join(OPTIONS)}"):
        compose(["logger=tensorbord"])
