"""What every logger of a run receives, in single runs and in runs with stages, and what its failures do not stop."""

import json

import pytest

from partoken.errors import UserError
from partoken.report import present
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.loggers import open_loggers
from partoken.training.settings import TrainSettings
from partoken.training.stages import Position
from tests.training.loggers.recorded import Recorded
from tests.training.runs import settings

MINE = "tests.training.loggers.recorded.Recorded"


def logged(folder, *, fails=(), run=None, **changes):
    """Carries out a run with the recording logger and returns the logger with the summary."""
    groups = settings(**changes)
    groups |= {"logger": {"mine": {"_target_": MINE, "fails": list(fails)}}, "run": run or {"name": None, "tags": []}}
    summary = carry_out(groups, folder, present=present)
    return Recorded.created[-1], summary, groups


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    return folder, *logged(folder, trainer={"log_every_n_steps": 3}, run={"name": "base", "tags": ["paper"]})


def test_a_logger_receives_the_configuration_with_name_and_tags(single):
    folder, logger, _, groups = single
    [received] = logger.told("log_hyperparams")[0]
    assert {key: received[key] for key in ("train", "trainer", "model", "data")} == {
        key: groups[key] for key in ("train", "trainer", "model", "data")
    }
    assert received["run"] == {"name": "base", "tags": ["paper"], "folder": str(folder)}


def test_a_logger_receives_every_metric_of_every_epoch(single):
    folder, logger, summary, _ = single
    for row, step in zip(read_table(folder / "metrics.csv"), (6, 13, 20), strict=True):
        for name in ("train_loss", "val_loss"):
            assert logger.metric(name)[step] == pytest.approx(float(row[name]))
    assert logger.metric("test_loss") == {21: pytest.approx(summary["test"]["loss"])}


def test_a_logger_receives_the_rate_of_each_group_and_step(single):
    folder, logger, _, _ = single
    for group in ("0", "1"):
        rows = {int(r["step"]): float(r["lr"]) for r in read_table(folder / "lr.csv") if r["group"] == group}
        assert logger.metric(f"lr/{group}") == rows
        assert len(rows) == 21


def test_a_logger_receives_pictures_scores_checkpoint_and_status_before_it_is_closed(single):
    folder, logger, summary, _ = single
    pictures = {key: images for key, images in logger.told("log_image")}
    plots = folder / "plots"
    assert pictures == {f"plots/{name}": [str(plots / f"{name}.png")] for name in ("learning_rate", "losses")}
    assert logger.metric("best_val_loss") == {21: summary["monitor"]["best"]}
    assert logger.metric("best_epoch") == {21: summary["best_epoch"]}
    assert logger.told("log_hyperparams")[1:] == [
        [{"status": "finished", "best_checkpoint": str(folder / "checkpoints/best.ckpt")}]
    ]
    assert logger.calls[-1] == ("finalize", "success")
    assert len(logger.told("finalize")) == 1


def test_stages_share_one_run_of_the_logger_whose_steps_go_on(tmp_path):
    stages = {"first": {"epochs": 1}, "second": {"epochs": 2, "lr": 0.01}}
    before = len(Recorded.created)
    logger, _, _ = logged(tmp_path, trainer={"log_every_n_steps": 1}, stages=stages)
    assert len(Recorded.created) == before + 1
    rows = [r for r in read_table(tmp_path / "lr.csv") if r["group"] == "0"]
    assert logger.metric("lr/0") == {int(r["step"]): float(r["lr"]) for r in rows}
    assert list(logger.metric("lr/0")) == list(range(21))
    assert list(logger.metric("train_loss")) == [6, 13, 20]
    assert logger.metric("epoch")[20] == 2
    assert logger.told("finalize") == [["success"]]


def test_each_optimizer_has_rates_of_its_own(tmp_path):
    own = {"discriminator": {"lr": 0.02, "warmup_steps": 4}}
    model = {"_target_": "tests.training.adversarial.Adversarial"}
    logger, _, _ = logged(tmp_path, model=model, optimizers=own, epochs=1, trainer={"log_every_n_steps": 2})
    for name in ("generator", "discriminator"):
        rows = [r for r in read_table(tmp_path / "lr.csv") if (r["optimizer"], r["group"]) == (name, "0")]
        assert logger.metric(f"lr/{name}/0") == {int(r["step"]): float(r["lr"]) for r in rows}


ALL = ("log_metrics", "log_hyperparams", "log_image", "after_save_checkpoint", "save", "finalize")


@pytest.mark.parametrize("fails", [ALL, ("finalize",)], ids=["everything", "finalize"])
def test_a_logger_that_fails_stops_nothing_and_is_named_once(tmp_path, caplog, single, fails):
    logger, summary, _ = logged(tmp_path, fails=fails, trainer={"log_every_n_steps": 3})
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["test"] == single[2]["test"]
    warnings = [r.getMessage() for r in caplog.records if "logger.mine failed to" in r.getMessage()]
    assert len(warnings) == 1
    assert "no connection" in warnings[0]
    assert logger.calls[-1] == ("finalize", "success"), "later calls are still tried"


def test_a_run_that_fails_closes_its_loggers_as_failed(tmp_path):
    with pytest.raises(UserError, match="monitor"):
        logged(tmp_path, monitor="no_such_metric")
    logger = Recorded.created[-1]
    [facts] = logger.told("log_hyperparams")[-1]
    assert facts["status"] == "failed"
    assert "no_such_metric" in facts["reason"]
    assert logger.told("finalize") == [["failed"]]


def test_a_run_that_diverges_says_so(tmp_path):
    with pytest.raises(UserError, match="not a finite number"):
        logged(tmp_path, lr=1e30, trainer={"gradient_clip_val": 0})
    logger = Recorded.created[-1]
    [facts] = logger.told("log_hyperparams")[-1]
    assert facts["status"] == "diverged"
    assert logger.told("finalize") == [["failed"]]


@pytest.mark.parametrize("error", [SystemExit(143), KeyboardInterrupt()], ids=["SIGTERM", "ctrl-c"])
def test_an_interrupt_closes_the_loggers(tmp_path, error):
    groups = {"logger": {"mine": {"_target_": MINE}}}
    with pytest.raises(type(error)), open_loggers(groups, TrainSettings.read(settings()["train"]), tmp_path):
        raise error
    logger = Recorded.created[-1]
    assert logger.told("log_hyperparams")[-1] == [{"status": "interrupted"}]
    assert logger.told("finalize") == [["failed"]]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"_target_": "tests.training.loggers.recorded.NoStart"}, ["logger.second cannot be started", "not answer"]),
        ({"_target_": MINE, "colour": 1}, ["logger.second.colour is not a setting", "~logger.second.colour"]),
    ],
    ids=["constructor", "argument"],
)
def test_a_logger_that_cannot_be_created_is_refused_before_the_training(tmp_path, second, words):
    groups = settings()
    groups["logger"] = {"first": {"_target_": MINE}, "second": second}
    with pytest.raises(UserError) as error:
        carry_out(groups, tmp_path)
    assert [word for word in words if word not in str(error.value)] == []
    assert not (tmp_path / "lr.csv").exists()
    first = next(logger for logger in reversed(Recorded.created) if hasattr(logger, "calls"))
    assert first.told("finalize") == [["failed"]]


def test_a_wrong_target_is_refused_before_the_data_is_read(tmp_path):
    groups = {**settings(), "logger": {"mine": {"_target_": "builtins.print"}}}
    with pytest.raises(UserError, match="not allowed"):
        carry_out(groups, tmp_path)
    assert not (tmp_path / "data_report.json").exists()


def test_further_processes_of_a_run_create_no_logger(tmp_path, monkeypatch):
    monkeypatch.setattr("partoken.training.loggers.run_loggers.rank_zero_only.rank", 1)
    before = len(Recorded.created)
    groups = {"logger": {"mine": {"_target_": MINE}}}
    with open_loggers(groups, TrainSettings.read(settings()["train"]), tmp_path) as loggers:
        [own] = loggers.for_stage(Position())
        own.log_metrics({"loss": 1.0}, 1)
    assert len(Recorded.created) == before


def test_a_stage_shows_the_facts_of_the_logger(tmp_path):
    groups = {"logger": {"mine": {"_target_": MINE}}}
    with open_loggers(groups, TrainSettings.read(settings()["train"]), tmp_path) as loggers:
        [own] = loggers.for_stage(Position(number=1, num_stages=2, first_step=20, first_epoch=3))
        logger = Recorded.created[-1]
        assert (own.name, own.version, own.save_dir, own.experiment) == ("recorded", "1", "folder", logger.calls)
        own.log_hyperparams({"lr": 1})
        own.log_metrics({"loss": 0.25})
        own.finalize("success")
        assert len(logger.told("log_hyperparams")) == 1, "the run has logged its configuration"
        assert logger.told("finalize") == []
    assert logger.told("log_metrics") == [[{"loss": 0.25}, None]]


def test_a_run_that_fails_leaves_the_rates_up_to_its_last_step(tmp_path):
    with pytest.raises(UserError, match="not a finite number"):
        logged(tmp_path, lr=1e30, warmup_steps=0)
    rows = [r for r in read_table(tmp_path / "lr.csv") if r["group"] == "0"]
    assert list(Recorded.created[-1].metric("lr/0")) == [int(r["step"]) for r in rows]
