"""Reading jobs from folders in every condition: finished, missing, half-written, killed, of an older version."""

import json

import pytest

from partoken.errors import UserError
from partoken.sweep.results import read_results
from partoken.training.objective import metric_value
from tests.sweep.made import write_job, write_sweep

CURVE = [0.25, 0.75, 0.5]


def read(folder):
    return read_results(folder).jobs


def test_a_finished_job_has_its_monitor_best_epoch_tests_and_time(tmp_path):
    files = {"best": 0.75, "test": {"accuracy": 0.5, "loss": 1.25}, "curve": CURVE}
    [job] = read(write_sweep(tmp_path, [({"train.lr": 0.1}, files)]))
    assert (job.state, job.reason, job.seconds) == ("finished", None, 12.5)
    assert job.value("val_score", "max") == 0.75 and job.best_epoch("val_score", "max") == 1
    assert job.tests == {"test_accuracy": 0.5, "test_loss": 1.25}


def test_a_metric_may_be_a_test_metric_or_a_column_at_the_best_epoch(tmp_path):
    files = {"best": 0.75, "test": {"accuracy": 0.5}, "curve": CURVE}
    [job] = read(write_sweep(tmp_path, [({}, files)]))
    assert job.value("test_accuracy", "max") == 0.5
    assert job.value("train_loss", "min") == job.value("train_loss", "max") == 1.0
    assert job.value("val_missing", "max") is None


@pytest.mark.parametrize("metric", ["val_score", "test_accuracy", "test_missing", "train_loss", "val_missing"])
@pytest.mark.parametrize(
    "more", [{}, {"best": None}, {"best_epoch": None}, {"test": {"accuracy": None}}, {"curve": [0.25]}]
)
def test_the_value_of_a_job_is_the_one_that_its_run_returns(metric, more, tmp_path):
    files = {"best": 0.75, "test": {"accuracy": 0.5}, "curve": CURVE, **more}
    [job] = read(write_sweep(tmp_path, [({}, files)]))
    assert job.value(metric, "max") == metric_value(job.folder, metric)


def test_a_job_that_has_not_begun_waits(tmp_path):
    [job] = read(write_sweep(tmp_path, [({"train.lr": 0.1}, None)]))
    assert (job.state, job.value("val_score", "max"), job.epochs, job.rates) == ("waiting", None, [], [])


def test_a_job_whose_process_was_killed_is_interrupted_and_shows_its_epochs_so_far(tmp_path):
    base = {"train.monitor": "val_score", "train.monitor_mode": "min"}
    [job] = read(write_sweep(tmp_path, [({}, {"state": "running", "curve": CURVE})], base=base))
    assert job.state == "interrupted"
    assert (job.value("val_score", "min"), job.best_epoch("val_score", "min")) == (0.25, 0)
    assert job.value("train_loss", "min") == 2.0, "at the epoch that is best by the monitored metric"


def test_the_summary_of_an_earlier_run_is_not_the_result_of_an_interrupted_job(tmp_path):
    write_sweep(tmp_path, [({}, {"best": 0.9, "test": {"accuracy": 0.9}})])
    (tmp_path / "0/status.json").write_text('{"status": "interrupted"}')
    [job] = read(tmp_path)
    assert (job.tests, job.value("val_score", "max"), job.seconds) == ({}, None, None)


@pytest.mark.parametrize("state", ["failed", "diverged"])
def test_a_failed_or_diverged_job_has_a_reason_and_no_value(state, tmp_path):
    files = {"state": state, "reason": "out of memory", "best": 0.9, "test": {"accuracy": 0.9}, "curve": CURVE}
    [job] = read(write_sweep(tmp_path, [({}, files)]))
    assert (job.state, job.reason, job.is_worst) == (state, "out of memory", True)
    assert (job.value("val_score", "max"), job.best_epoch("val_score", "max"), job.tests) == (None, None, {})


def test_numbers_that_are_not_finite_are_no_values(tmp_path):
    files = {"best": None, "test": {"loss": None, "accuracy": 0.5}, "curve": ["nan", "inf", 0.25]}
    [job] = read(write_sweep(tmp_path, [({}, files)]))
    assert job.value("val_score", "max") is None and job.tests == {"test_accuracy": 0.5}
    assert [row.get("val_score") for row in job.epochs] == [None, None, 0.25]


@pytest.mark.parametrize("content", ['{"test": {"acc', "[1, 2]", ""], ids=["half", "list", "empty"])
def test_a_summary_that_is_not_whole_is_named_as_the_reason(content, tmp_path):
    write_sweep(tmp_path, [({}, {"best": 0.5})])
    (tmp_path / "0/summary.json").write_text(content)
    [job] = read(tmp_path)
    assert "summary.json" in job.reason and job.value("val_score", "max") is None


@pytest.mark.parametrize("name", ["status.json", "metrics.csv", "lr.csv"])
def test_a_half_written_file_is_no_error(name, tmp_path):
    write_sweep(tmp_path, [({}, {"best": 0.5, "curve": CURVE})])
    (tmp_path / "0" / name).write_bytes(b'epoch,val_score\n1,0.5\n2,0.\n"3,\xff\xfe')
    [job] = read(tmp_path)
    assert isinstance(job.epochs, list) and isinstance(job.rates, list)


def test_the_rates_are_those_of_the_first_parameter_group(tmp_path):
    [job] = read(write_sweep(tmp_path, [({}, {"best": 0.5, "curve": CURVE})]))
    with open(tmp_path / "0/lr.csv", "a") as file:
        file.write("0,0,1,0.7\n")
    assert job.rates == [(0, 0.1), (1, 0.05), (2, pytest.approx(0.1 / 3))]


def older(folder, lr, *, monitor="val_score", mode="max"):
    write_job(folder, best=lr, monitor=monitor)
    (folder / "status.json").unlink()
    (folder / ".hydra").mkdir()
    config = f"train:\n  lr: {lr}\n  monitor: {monitor}\n  monitor_mode: {mode}\n"
    config += "trainer:\n  max_epochs: ${train.epochs}\n"
    (folder / ".hydra/config.yaml").write_text(config)
    (folder / ".hydra/overrides.yaml").write_text(f"- train.lr={lr}\n")


def test_without_sweep_json_the_run_folders_are_the_jobs_in_the_order_of_their_numbers(tmp_path):
    for number in (0, 2, 10):
        older(tmp_path / str(number), number / 100)
    (tmp_path / "notes").mkdir()
    read_folder = read_results(tmp_path)
    assert [(job.number, job.state, job.config["train"]["lr"]) for job in read_folder.jobs] == [
        (0, "finished", 0.0),
        (2, "finished", 0.02),
        (10, "finished", 0.1),
    ]
    assert read_folder.jobs[2].overrides == ("train.lr=0.1",)


def test_the_metric_of_a_folder_of_runs_is_the_one_that_most_of_them_monitor(tmp_path):
    for number, monitor in enumerate(["val_loss", "val_f1", "val_f1"]):
        older(tmp_path / str(number), 0.1, monitor=monitor, mode="max" if monitor == "val_f1" else "min")
    found = read_results(tmp_path)
    assert (found.metric, found.direction) == ("val_f1", "max")


def test_runs_in_folders_of_days_are_found(tmp_path):
    for path in ("2026-11-26/10-00-00-aa", "2026-11-27/09-00-00-bb"):
        older(tmp_path / path, 0.1)
        (tmp_path / path / "checkpoints").mkdir()
    assert [job.folder.name for job in read(tmp_path)] == ["10-00-00-aa", "09-00-00-bb"]


def test_an_older_run_without_a_finite_test_loss_diverged(tmp_path):
    older(tmp_path / "0", 0.1)
    write_job(tmp_path / "0", best=0.2, test={"accuracy": 0.2, "loss": None})
    (tmp_path / "0/status.json").unlink()
    older(tmp_path / "1", 0.2)
    (tmp_path / "1/summary.json").unlink()
    assert [job.state for job in read(tmp_path)] == ["diverged", "interrupted"]


def test_a_run_that_was_killed_before_it_wrote_its_configuration_is_no_error(tmp_path):
    older(tmp_path / "0", 0.1)
    (tmp_path / "1/.hydra").mkdir(parents=True)
    (tmp_path / "1/.hydra/config.yaml").write_text("train: {lr: [0.1\n")
    assert [(job.state, dict(job.config)) for job in read(tmp_path)][1] == ("interrupted", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"version": 1', r"sweep\.json is damaged"),
        ('{"version": 1}', r"sweep\.json is damaged"),
        ("[1]", r"sweep\.json is damaged"),
        ('{"version": 1, "jobs": [{"number": 0}]}', r"sweep\.json is damaged"),
        ('{"version": 2, "jobs": []}', "was written by another version"),
        ('{"version": 1, "jobs": []}', "lists no jobs"),
    ],
)
def test_a_sweep_json_that_cannot_be_used_is_named(content, message, tmp_path):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_results(tmp_path)


def test_a_direction_other_than_max_and_min_is_refused(tmp_path):
    write_sweep(tmp_path, [({}, None)], direction="up")
    with pytest.raises(UserError, match=r"direction 'up': must be max or min"):
        read_results(tmp_path)


def test_a_folder_without_runs_a_single_run_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"has neither sweep\.json nor run folders"):
        read_results(tmp_path)
    with pytest.raises(UserError, match="missing: no such folder"):
        read_results(tmp_path / "missing")
    write_job(tmp_path / "0", best=0.5)
    with pytest.raises(UserError, match="is the folder of a single run"):
        read_results(tmp_path / "0")


def test_a_sweep_without_a_metric_uses_the_monitored_one(tmp_path):
    base = {"train.monitor": "val_score", "train.monitor_mode": "max"}
    write_sweep(tmp_path, [({"train.lr": 0.1}, {"best": 0.5})], base=base)
    content = json.loads((tmp_path / "sweep.json").read_text())
    (tmp_path / "sweep.json").write_text(json.dumps({**content, "metric": None, "direction": None}))
    found = read_results(tmp_path)
    assert (found.metric, found.direction) == ("val_score", "max")
