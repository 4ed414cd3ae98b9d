"""The value of a run for a sweep, read from its folder, and the metrics that a task says it has."""

import json

import pytest

from partoken.composition import plain_group
from partoken.config import compose
from partoken.errors import UserError
from partoken.system.tables import read_table
from partoken.training.checks import check_before_reading, task_metrics
from partoken.training.engine import carry_out
from partoken.training.objective import check_metric, metric_value, objective
from partoken.training.settings import TrainSettings
from tests.training.runs import settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    carry_out(settings(monitor_mode="max"), folder)  # the loss falls, so the first epochs are the best
    return folder


def test_the_monitor_counts_at_its_best_and_a_column_at_the_best_epoch(folder):
    rows = read_table(folder / "metrics.csv")
    losses = [float(row["val_loss"]) for row in rows]
    best = losses.index(max(losses))
    assert metric_value(folder, "val_loss") == pytest.approx(max(losses))
    assert metric_value(folder, "train_loss") == pytest.approx(float(rows[best]["train_loss"]))
    assert best != len(rows) - 1, "another epoch than the last one"


def test_a_score_of_the_test_has_its_prefix(folder):
    assert metric_value(folder, "test_loss") == json.loads((folder / "summary.json").read_text())["test"]["loss"]


def test_a_run_that_only_tests_has_its_scores_and_its_monitor(folder, tmp_path):
    tested = json.loads((folder / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(tested))
    assert metric_value(tmp_path, "val_loss") == tested["monitor"]["best"]
    assert metric_value(tmp_path, "train_loss") is None


@pytest.mark.parametrize(("direction", "worst"), [("max", -1e9), ("min", 1e9)])
def test_a_run_without_the_metric_counts_as_the_worst(direction, worst, folder, tmp_path):
    assert objective(folder, "val_acuracy", direction) == worst
    assert objective(tmp_path, "val_loss", direction) == worst


def test_a_diverged_run_counts_as_the_worst(tmp_path):
    with pytest.raises(UserError, match="finite"):
        carry_out(settings(lr=1e30, warmup_steps=0), tmp_path)
    assert objective(tmp_path, "val_loss", "min") == 1e9


def test_a_misspelt_metric_names_the_closest_one():
    with pytest.raises(UserError, match=r"sweep\.metric=val_los: no such metric; .*Did you mean val_loss\?"):
        check_metric("sweep.metric", "val_los", ("val_loss", "val_accuracy"))
    check_metric("sweep.metric", "anything", ())


@pytest.mark.parametrize("experiment", [None, "multistage", "axion", "axion_stage1", "axion_stage2", "enzymes"])
def test_a_misspelt_monitor_is_refused_before_the_data_is_read(experiment):
    cfg = compose([f"experiment={experiment}"] if experiment else [])
    groups = {group: plain_group(cfg, group) for group in ("data", "model", "train", "trainer")}
    check_before_reading(TrainSettings.read(groups["train"]), groups)
    groups["train"]["monitor"] = "val_los"
    if groups["train"]["stages"]:
        for stage in groups["train"]["stages"].values():
            stage.pop("monitor", None)
    with pytest.raises(UserError, match=r"train\.monitor=val_los.*val_loss"):
        check_before_reading(TrainSettings.read(groups["train"]), groups)


def test_the_metrics_of_a_run_are_those_of_all_its_stages():
    cfg = compose(["experiment=axion"])
    groups = {group: plain_group(cfg, group) for group in ("data", "model", "train")}
    known = task_metrics(TrainSettings.read(groups["train"]), groups)
    assert {"val_psnr", "train_discriminator", "train_edges", "test_mae", "tiles_per_second", "seconds"} <= set(known)


def test_the_metrics_of_several_labels_are_those_that_the_configuration_names():
    cfg = compose(["data.label_columns=[enzyme,{column: cath, depth: 1}]", "train.monitor=val_cath_1_macro_f1"])
    groups = {group: plain_group(cfg, group) for group in ("data", "model", "train", "trainer")}
    train = TrainSettings.read(groups["train"])
    check_before_reading(train, groups)
    assert {"val_enzyme_accuracy", "test_cath_1_loss", "val_macro_f1"} <= set(task_metrics(train, groups))
    groups["train"]["monitor"] = "val_cath_2_macro_f1"
    with pytest.raises(UserError, match=r"train\.monitor=val_cath_2_macro_f1.*Did you mean val_cath_1_macro_f1\?"):
        check_before_reading(TrainSettings.read(groups["train"]), groups)
