"""`train=false` only tests a checkpoint, and `test=false` leaves the test out."""

import json
import logging

import pytest

from partoken.errors import UserError
from partoken.report import present
from partoken.training.engine import carry_out
from tests.training.runs import settings

STAGES = {"first": {"epochs": 2}, "second": {"epochs": 3, "model": {"dropout": 0.1}}}


def evaluate(folder, checkpoint, **changes):
    folder.mkdir(exist_ok=True)
    values = {**settings(resume_from=str(checkpoint), **changes), "fit": False}
    return carry_out(values, folder, present=present)


def content(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, carry_out(settings(), folder, present=present)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged")
    return folder, carry_out(settings(stages=STAGES, warmup_steps=0), folder)


def test_a_checkpoint_that_is_tested_again_has_the_scores_of_its_run(trained, tmp_path):
    folder, summary = trained
    before = content(folder)
    again = evaluate(tmp_path / "again", folder / "checkpoints/best.ckpt")
    assert again["test"] == summary["test"]
    assert again["monitor"] == {"name": "val_loss", "best": pytest.approx(summary["monitor"]["best"])}
    assert (again["best_epoch"], again["trained"]) == (summary["best_epoch"], False)
    assert content(folder) == before, "the run that is tested stays as it is"
    made = {path.name for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert made == {"summary.json", "status.json", "data_report.json", ".lock"}


def test_the_report_of_a_test_says_that_nothing_was_trained(trained, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "partoken.report"):
        evaluate(tmp_path / "again", trained[0] / "checkpoints/last.ckpt")
    assert "nothing was trained (train=false)" in caplog.text
    assert "last.ckpt (epoch 3 of 3, tested)" in caplog.text


def test_the_schedule_does_not_matter_if_nothing_is_trained(trained, tmp_path):
    evaluate(tmp_path / "again", trained[0] / "checkpoints/best.ckpt", warmup_steps=10_000)


@pytest.mark.parametrize("name", ["first", "second"])
def test_the_checkpoint_of_a_stage_is_tested_with_the_settings_of_that_stage(staged, tmp_path, name):
    folder, summary = staged
    again = evaluate(tmp_path / "again", folder / f"checkpoints/{name}/best.ckpt", stages=STAGES, warmup_steps=0)
    [part] = [part for part in summary["stages"] if part["name"] == name]
    assert again["test"] == part["test"]
    assert again["best_epoch"] == part["best_epoch"]
    assert "stages" not in again


def test_a_run_is_not_tested_in_its_own_folder(trained):
    folder, _ = trained
    before = content(folder)
    with pytest.raises(UserError, match=r"would be overwritten; choose another folder"):
        evaluate(folder, folder / "checkpoints/best.ckpt")
    assert content(folder) == before


def test_the_checkpoint_of_another_model_is_rejected(trained, tmp_path):
    group = {"_target_": "tests.training.adversarial.Adversarial"}
    with pytest.raises(UserError, match=r"best\.ckpt: the checkpoint is of another model"):
        evaluate(tmp_path / "again", trained[0] / "checkpoints/best.ckpt", model=group)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"fit": False}, "train=false tests a checkpoint and none is given"),
        ({"fit": False, "test": False}, "nothing is left to do"),
        ({"fit": "no"}, "train='no': must be true or false"),
        ({"test": 0}, "test=0: must be true or false"),
    ],
    ids=lambda value: "",
)
def test_a_run_with_nothing_to_do_is_rejected(switches, message, tmp_path):
    with pytest.raises(UserError, match=message):
        carry_out({**settings(), **switches}, tmp_path)


def test_without_a_test_the_summary_and_the_report_say_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "partoken.report"):
        summary = carry_out({**settings(), "test": False}, tmp_path, present=present)
    assert (summary["test"], summary["tested"]) == ({}, False)
    assert json.loads((tmp_path / "summary.json").read_text())["tested"] is False
    assert "test              not run" in caplog.text
    assert "best.ckpt (epoch 1 of 3)" in caplog.text
    assert (tmp_path / "plots/losses.png").exists()


def test_stages_without_a_test_still_follow_one_another(tmp_path):
    summary = carry_out({**settings(stages=STAGES, warmup_steps=0), "test": False}, tmp_path, present=present)
    assert [part["test"] for part in summary["stages"]] == [{}, {}]
