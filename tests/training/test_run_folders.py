"""A run folder belongs to one run: another run is refused, and a refused run leaves nothing."""

import hashlib
import os
import shutil

import pytest

from partoken.cli import train
from partoken.errors import UserError
from partoken.training.engine import carry_out
from tests.training.runs import settings


@pytest.fixture(autouse=True)
def own_logging(monkeypatch):
    monkeypatch.setattr("hydra.core.utils.configure_log", lambda *_: None)


def content(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    carry_out(settings(epochs=1, warmup_steps=0), folder)
    return folder


@pytest.mark.parametrize("how", ["new", "resumed elsewhere"])
def test_a_folder_that_holds_a_run_is_refused_and_stays_as_it_is(how, finished, tmp_path):
    before = content(finished)
    source = {}
    if how == "resumed elsewhere":
        carry_out(settings(epochs=1, warmup_steps=0), tmp_path)
        source = {"resume_from": str(tmp_path / "checkpoints/last.ckpt")}
    with pytest.raises(UserError, match=r"holds a run already .*resume=latest.*overwrite=true"):
        carry_out(settings(**source), finished)
    assert content(finished) == before


def test_overwrite_is_true_or_false(tmp_path):
    with pytest.raises(UserError, match="overwrite='yes': must be true or false"):
        carry_out({**settings(), "overwrite": "yes"}, tmp_path)


@pytest.mark.parametrize("own", [[], ["overwrite=true"]], ids=["", "overwrite"])
@pytest.mark.parametrize("name", ["finished", "new"])
def test_a_refused_command_leaves_the_folder_as_it_was(name, own, finished, tmp_path, capsys):
    folder = finished if name == "finished" else tmp_path / "new"
    before = content(folder)
    assert train([*own, "train.resume_from=missing.ckpt", f"hydra.run.dir={folder}"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert content(folder) == before
    assert folder.exists() == (name == "finished")


def test_a_refused_command_keeps_an_empty_folder_of_the_user(tmp_path):
    os.utime(tmp_path, (1, 1))
    assert train(["train.resume_from=missing.ckpt", f"hydra.run.dir={tmp_path}"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_refused_resume_leaves_the_status_and_the_configuration_of_the_run(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / ".hydra").mkdir()
    for name in ("config", "hydra", "overrides"):
        (folder / f".hydra/{name}.yaml").write_text("of the run")
    before = content(folder)
    last = folder / "checkpoints/last.ckpt"
    assert train([f"train.resume_from={last}", "train.monitor=unknown", f"hydra.run.dir={folder}"]) == 2
    assert content(folder) == before
