"""The name and the tags of a run."""

import pytest

from partoken.errors import UserError
from partoken.training.loggers.label import RunLabel


def test_a_run_has_the_name_of_its_folder(tmp_path):
    assert RunLabel.read({"name": None, "tags": []}, tmp_path / "12-30-11-a1b2c3") == RunLabel("12-30-11-a1b2c3")
    assert RunLabel.read({"name": "base", "tags": ["a", "b"]}, tmp_path) == RunLabel("base", ("a", "b"))


def test_a_job_of_a_sweep_has_its_number_in_its_name(tmp_path):
    (tmp_path / "sweep.json").write_text("{}")
    assert RunLabel.read({}, tmp_path / "3").name == f"{tmp_path.name}/3"
    assert RunLabel.read({"name": "base"}, tmp_path / "3").name == "base/3"
    assert RunLabel.read({"name": "base"}, tmp_path / "lr/3").name == "base/lr/3"  # hydra.sweep.subdir may be nested


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"nam": "x"}, ["run.nam", "Did you mean name"]),
        ({"name": 3}, ["run.name=3", "text"]),
        ({"tags": "paper"}, ["run.tags='paper'", "[baseline,paper]"]),
        ({"tags": [1]}, ["run.tags=[1]", "list of texts"]),
    ],
)
def test_a_wrong_label_is_an_error_that_names_the_key(group, words, tmp_path):
    with pytest.raises(UserError) as error:
        RunLabel.read(group, tmp_path)
    assert [word for word in words if word not in str(error.value)] == []
