"""The files of conf/data and the functions that they name agree."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import get_method
from omegaconf import OmegaConf

from partoken.protein.dataset.datamodule import ProteinDataModule

FILES = sorted((Path(__file__).parents[2] / "conf/data").glob("*.yaml"))
GIVEN_BY_THE_ENGINE = {"batch_size", "num_workers", "seed"}


def own_and_options():
    for path in FILES:
        conf = OmegaConf.load(path)
        if conf._target_.startswith("partoken.protein."):
            own = inspect.signature(get_method(conf._target_)).parameters
            options = inspect.signature(ProteinDataModule).parameters
            yield pytest.param(conf, own, options, id=path.stem)


@pytest.mark.parametrize("conf, own, options", list(own_and_options()))
def test_keys_and_arguments_are_the_same(conf, own, options):
    keys = set(conf) - {"_target_"}
    assert keys <= set(own) | set(options) - GIVEN_BY_THE_ENGINE
    missing = {name for name, p in own.items() if p.kind is not p.VAR_KEYWORD} - keys
    assert not missing, "an argument without a key could not be found by a user"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_opens_with_what_it_is_for(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ") and any("python run_partoken.py" in line for line in lines[:4])
