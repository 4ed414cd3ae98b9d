"""The files of conf/data agree with the functions that they name."""

import dataclasses
import inspect

import pytest
from hydra.utils import get_method
from omegaconf import OmegaConf

from partoken.config import CONF
from partoken.errors import UserError
from partoken.protein.catalog import EMBEDDED_FIRST_LEVEL_NAMES, EMBEDDED_NAMES, arrays, embedded
from partoken.protein.dataset.options import DataOptions

FILES = sorted((CONF / "data").glob("*.yaml"))
OPTIONS = {field.name: field.default for field in dataclasses.fields(DataOptions)}
DIFFERENT_ON_PURPOSE = {
    "embedded": {
        "min_class_size": 20,
        "epochs_per_pass": 3,
        "family": {"column": "cath", "depth": 4, "first": True},
    },
}
"""The main job leaves out two tiny classes, has short epochs and knows superfamilies; data of a user are used as they
are."""


def protein_files():
    for path in FILES:
        conf = OmegaConf.to_container(OmegaConf.load(path))
        target = conf.pop("_target_")
        if target.startswith("partoken.protein."):
            parameters = inspect.signature(get_method(target)).parameters.values()
            own = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
            yield pytest.param(path.stem, conf, own, id=path.stem)


@pytest.mark.parametrize("name, conf, own", list(protein_files()))
def test_every_key_is_an_argument_and_every_own_argument_is_a_key(name, conf, own):
    assert conf.keys() <= own.keys() | OPTIONS.keys()
    assert own.keys() <= conf.keys(), "a user could not discover an argument without a key"


@pytest.mark.parametrize("name, conf, own", list(protein_files()))
def test_the_defaults_of_the_file_are_those_of_the_code(name, conf, own):
    expected = {key: own.get(key, OPTIONS.get(key)) for key in conf}
    expected = {key: "???" if value is inspect.Parameter.empty else value for key, value in expected.items()}
    expected |= DIFFERENT_ON_PURPOSE.get(name, {})
    if "fractions" in conf:
        conf = conf | {"fractions": tuple(conf["fractions"])}
    assert conf == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_opens_with_its_purpose_and_a_command(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ") and any("python run_partoken.py" in line for line in lines[:4])


NAMED_COLUMNS = [*((c, None) for c in EMBEDDED_NAMES), *((c, 1) for c in EMBEDDED_FIRST_LEVEL_NAMES)]


@pytest.mark.parametrize("column, depth", NAMED_COLUMNS)
def test_every_label_of_a_named_embedded_column_has_a_name(column, depth):
    collection = embedded(column, label_depth=depth, multi_label=True).collection
    labels = {label for labels_of_chain in collection.labels[""] for label in labels_of_chain}
    assert labels <= collection.class_names[""].keys()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"label_depth": 0}, r"data\.label_depth=0: must be a whole number of 1 or more, or null"),
        ({"min_length": 0}, r"data\.min_length=0: must be a whole number of 1 or more"),
        ({"min_length": 50, "max_length": 40}, r"data\.max_length=40: must be a whole number of 50 or more, or null"),
    ],
    ids=["depth", "shortest", "longest"],
)
def test_an_invalid_depth_or_length_is_an_error_that_names_its_key(options, message):
    with pytest.raises(UserError, match=message):
        arrays("chains.npz", **options)
