"""What MLflow shows of a run, read from its SQLite database."""

import multiprocessing
from pathlib import Path

import pytest

from partoken.errors import UserError
from partoken.report import present
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.loggers import open_loggers
from partoken.training.settings import TrainSettings
from tests.training.runs import TRAIN, settings

for package in ("mlflow", "sqlalchemy", "alembic"):
    pytest.importorskip(package, reason="needs the extra mlflow")

from mlflow import MlflowClient  # noqa: E402

pytestmark = [
    # MLflow 3.17 uses a loader that SQLAlchemy 2.1 deprecates.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
    # Python 3.12 warns about it; the forked processes only log.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
]


def node(folder):
    return {
        "_target_": "pytorch_lightning.loggers.MLFlowLogger",
        "experiment_name": "toy",
        "tracking_uri": f"sqlite:///{folder}/mlruns.db",
        "artifact_location": f"{folder}/mlruns",
    }


def create_and_close(folder, name, barrier):
    groups = {"logger": {"mlflow": node(folder)}, "run": {"name": name}}
    barrier.wait()
    with open_loggers(groups, TrainSettings.read(TRAIN), folder / name) as loggers:
        loggers.log_end({"status": "finished"})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The folder of a database that two processes have created at the same moment."""
    folder = tmp_path_factory.mktemp("store")
    forked = multiprocessing.get_context("fork")  # a new interpreter would import everything again
    barrier = forked.Barrier(2)
    processes = [forked.Process(target=create_and_close, args=(folder, name, barrier)) for name in ("left", "right")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    return folder


def found(folder, name):
    client = MlflowClient(f"sqlite:///{folder}/mlruns.db")
    [experiment] = [item for item in client.search_experiments() if item.name == "toy"]
    runs = [run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == name]
    return client, runs


def finished(store, folder, **changes):
    groups = settings(trainer={"log_every_n_steps": 5}, **changes)
    groups |= {"logger": {"mlflow": node(store)}, "run": {"name": None, "tags": ["paper"]}}
    carry_out(groups, folder, present=present)


def test_two_processes_create_the_database_at_the_same_moment(store):
    for name in ("left", "right"):
        _, [run] = found(store, name)
        assert run.info.status == "FINISHED"
        assert run.data.tags["run_folder"] == str(store / name)


def test_a_run_has_its_name_its_tags_and_everything_it_logged(store, tmp_path):
    finished(store, tmp_path)
    client, [run] = found(store, tmp_path.name)
    assert run.info.status == "FINISHED"
    tags = {"paper": "true", "run_folder": str(tmp_path), "status": "finished"}
    tags["best_checkpoint"] = str(tmp_path / "checkpoints/best.ckpt")
    assert tags.items() <= run.data.tags.items()
    assert {"train.lr": "0.1", "trainer.max_epochs": "3", "data._target_": "tests.training.toy.ToyData"}.items() <= (
        run.data.params.items()
    )
    rows = [row for row in read_table(tmp_path / "lr.csv") if row["group"] == "0"]
    rates = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, "lr/0")}
    assert rates == {int(row["step"]): float(row["lr"]) for row in rows}
    best = min(float(row["val_loss"]) for row in read_table(tmp_path / "metrics.csv"))
    assert run.data.metrics["best_val_loss"] == pytest.approx(best)
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id, "plots")}
    assert artifacts == {"plots/learning_rate.png", "plots/losses.png"}
    saved = client.download_artifacts(run.info.run_id, "config.yaml", str(tmp_path))
    assert "warmup_steps: 2\n" in Path(saved).read_text()


def test_a_run_whose_process_was_killed_ends_when_its_folder_is_used_again(store, tmp_path):
    client, [other] = found(store, "left")
    running = [
        client.create_run(other.info.experiment_id, tags={"run_folder": str(folder)}).info.run_id
        for folder in (tmp_path, tmp_path / "other")
    ]
    groups = {"logger": {"mlflow": node(store)}, "run": {"name": "again"}}
    with open_loggers(groups, TrainSettings.read(TRAIN), tmp_path) as loggers:
        loggers.log_end({"status": "finished"})
    assert [client.get_run(run).info.status for run in running] == ["KILLED", "RUNNING"]
    _, [run] = found(store, "again")
    assert run.info.status == "FINISHED"


def test_runs_that_fail_or_are_stopped_do_not_show_as_finished(store, tmp_path):
    with pytest.raises(UserError, match="monitor"):
        finished(store, tmp_path, monitor="no_such_metric")
    _, [run] = found(store, tmp_path.name)
    assert (run.info.status, run.data.tags["status"]) == ("FAILED", "failed")
    assert "no_such_metric" in run.data.tags["reason"]
    groups = {"logger": {"mlflow": node(store)}, "run": {"name": "stopped"}}
    with pytest.raises(SystemExit), open_loggers(groups, TrainSettings.read(TRAIN), tmp_path):
        raise SystemExit(143)
    _, [run] = found(store, "stopped")
    assert run.info.status == "KILLED"


def test_a_database_that_cannot_be_created_is_refused_before_the_training(tmp_path):
    groups = {**settings(), "logger": {"mlflow": node(tmp_path / "missing")}}
    with pytest.raises(UserError, match=r"logger\.mlflow cannot be started.*missing"):
        carry_out(groups, tmp_path)
    assert not (tmp_path / "lr.csv").exists()
