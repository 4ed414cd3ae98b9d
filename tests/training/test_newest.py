"""The key `resume`: a run goes on from the newest checkpoint that can be read, or starts."""

import logging
import os
import shutil

import pytest
from hydra.core.hydra_config import HydraConfig

from partoken.cli import train
from partoken.errors import NothingToDo, UserError
from partoken.system.checkpoint import read_checkpoint
from partoken.training.engine import carry_out
from partoken.training.newest import newest_checkpoint
from tests.training.runs import settings
from tests.training.test_epoch_state import Kill, Killed, Stop, job, numbers


@pytest.fixture(autouse=True)
def own_logging(monkeypatch):
    monkeypatch.setattr("hydra.core.utils.configure_log", lambda *_: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    carry_out({**job(), "resume": "auto"}, folder, overrides=["a=1", "resume=auto"])
    return folder


@pytest.fixture
def finished(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def test_the_same_command_carries_a_run_to_its_end_after_any_kills(whole, tmp_path):
    frequent = {**job(checkpoint={"every_n_steps": 1}), "resume": "auto"}
    for stop in (Kill(1), Kill(4), Kill(12), Kill(validation=(2, 0))):
        with pytest.raises(Killed):
            carry_out(frequent, tmp_path, callbacks=[stop])
    carry_out(frequent, tmp_path)
    assert numbers(tmp_path) == numbers(whole)


def test_the_same_command_on_a_finished_run_has_nothing_to_do(finished):
    before = sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.name != ".lock")
    with pytest.raises(NothingToDo, match=r"is finished; raise train\.epochs"):
        carry_out({**job(), "resume": "auto"}, finished, overrides=["resume=auto", "a=1"])
    assert before == sorted((path, path.stat().st_mtime_ns) for path in finished.rglob("*") if path.name != ".lock")


def test_another_command_on_a_finished_run_is_refused(finished):
    with pytest.raises(UserError, match="the run is finished, nothing is left to train"):
        carry_out({**job(), "resume": "auto"}, finished, overrides=["a=2", "resume=auto"])


def test_latest_continues_and_a_folder_means_its_newest_checkpoint(whole, tmp_path):
    with pytest.raises(SystemExit):
        carry_out(job(), tmp_path, callbacks=[Stop(8)])
    other = tmp_path / "other"
    other.mkdir()
    carry_out({**job(), "resume": str(tmp_path)}, other)
    carry_out({**job(), "resume": "latest"}, tmp_path)
    assert numbers(tmp_path) == numbers(other) == numbers(whole)


@pytest.mark.parametrize("resume", ["latest", "missing"])
def test_a_folder_without_a_checkpoint_is_named(resume, tmp_path):
    with pytest.raises(UserError, match=f"resume={resume}: .* has no checkpoint from which a run could go on"):
        carry_out({**settings(), "resume": resume}, tmp_path)


def test_a_damaged_checkpoint_is_named_and_passed_over(finished, caplog):
    last, best = (finished / f"checkpoints/{name}.ckpt" for name in ("last", "best"))
    last.write_bytes(last.read_bytes()[:1000])
    assert newest_checkpoint(finished) == best
    assert f"passed over: {last} cannot be read as a checkpoint" in caplog.text
    best.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of its checkpoints can be read \(checkpoints/last.ckpt, .*best.ckpt\)"):
        newest_checkpoint(finished)


def test_a_run_continues_from_its_best_checkpoint_to_the_bit(whole, finished):
    (finished / "summary.json").unlink()
    last = finished / "checkpoints/last.ckpt"
    epoch = read_checkpoint(finished / "checkpoints/best.ckpt")["epoch"]
    last.write_bytes(b"damaged")
    carry_out({**job(), "resume": "latest"}, finished)
    assert epoch < 2
    assert numbers(finished) == numbers(whole)


def test_files_that_a_killed_run_has_not_finished_are_deleted(tmp_path):
    half = [tmp_path / ".lr.csv.0.partial", tmp_path / "checkpoints/.last.ckpt.0.partial"]
    (tmp_path / "checkpoints").mkdir()
    for file in half:
        file.write_bytes(b"half")
    (tmp_path / "status.json").write_text('{"status": "running"}')
    carry_out({**job(epochs=1, warmup_steps=0), "resume": "auto"}, tmp_path)
    assert not any(file.exists() for file in half)


def test_a_run_whose_folder_is_deleted_says_so(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()

    class Delete(Stop):
        def on_train_batch_end(self, trainer, *_):
            if trainer.current_epoch == 1:
                shutil.rmtree(folder)

    with pytest.raises(UserError, match="the run folder was deleted or moved while the run trained"):
        carry_out(settings(), folder, callbacks=[Delete()])
    assert not folder.exists()


def test_auto_needs_a_folder_with_a_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train(["resume=auto"]) == 2
    assert "give the run one with hydra.run.dir=FOLDER" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_latest_without_a_folder_is_the_run_with_the_newest_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train(["resume=latest"]) == 2
    assert "resume=latest: no run with a checkpoint in" in capsys.readouterr().err
    for age, name in enumerate(["old", "it's new"]):
        last = tmp_path / "outputs/day" / name / "checkpoints/last.ckpt"
        last.parent.mkdir(parents=True)
        last.touch()
        os.utime(last, (age, age))
    seen = []
    monkeypatch.setattr("partoken.cli._job", lambda cfg: seen.append(HydraConfig.get().runtime.output_dir))
    assert train(["resume=latest"]) == 0
    monkeypatch.chdir(tmp_path / "outputs/day/old")
    assert train(["resume=latest"]) == 0
    assert seen == [str(tmp_path / "outputs/day" / name) for name in ("it's new", "old")]


def test_a_finished_run_ends_the_same_command_with_status_0(finished, monkeypatch, capsys):
    def job_of_a_finished_run(cfg):
        raise NothingToDo("done already")

    monkeypatch.setattr("partoken.cli._job", job_of_a_finished_run)
    logging.getLogger().handlers.clear()
    assert train(["resume=auto", f"hydra.run.dir={finished}"]) == 0
    assert capsys.readouterr().out == "done already\n"
