"""What Weights & Biases shows of a run, read from the files that it writes offline."""

import pytest

from partoken.errors import UserError
from partoken.report import present
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.loggers.label import RunLabel
from partoken.training.loggers.libraries import WeightsAndBiases
from tests.training.loggers.wandb_files import read_run
from tests.training.runs import settings

wandb = pytest.importorskip("wandb", reason="needs the extra wandb")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The run folders of a run and of one that fails after it, in one process."""
    folders = []
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_MODE", raising=False)
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.setenv("WANDB_SILENT", "true")
        for name, monitor in (("good", "val_loss"), ("bad", "no_such_metric")):
            folder = tmp_path_factory.mktemp(name)
            folders.append(folder)
            groups = settings(trainer={"log_every_n_steps": 1}, use_wandb=True, data={"size": 12}, monitor=monitor)
            groups["run"] = {"name": f"{name} run", "tags": ["paper", "toy"]}
            try:
                carry_out(groups, folder, present=present)
            except UserError:
                assert name == "bad"
    return folders


def offline_run(folder):
    [path] = folder.glob("wandb/offline-run-*")
    return path, read_run(path)


def test_each_run_of_a_process_is_a_run_of_its_own_with_its_name_and_tags(runs):
    shown = [offline_run(folder)[1] for folder in runs]
    assert [run["name"] for run in shown] == ["good run", "bad run"]
    assert [run["tags"] for run in shown] == [["paper", "toy"]] * 2
    assert wandb.run is None


def test_a_failed_run_ends_with_an_exit_code(runs):
    assert [offline_run(folder)[1]["exit_code"] for folder in runs] == [0, 1]
    assert [offline_run(folder)[1]["summary"]["status"] for folder in runs] == ["finished", "failed"]


def test_the_configuration_is_nested_and_its_groups_are_those_of_the_run(runs):
    config = offline_run(runs[0])[1]["config"]
    groups = settings(trainer={"log_every_n_steps": 1}, use_wandb=True, data={"size": 12})
    assert {key: config[key] for key in groups} == groups
    assert config["run"]["folder"] == str(runs[0])


def test_metrics_and_rates_have_the_steps_of_the_run(runs):
    history = offline_run(runs[0])[1]["history"]
    rates = {row["trainer/global_step"]: row["lr/0"] for row in history if "lr/0" in row}
    rows = [row for row in read_table(runs[0] / "lr.csv") if row["group"] == "0"]
    assert rates == {int(row["step"]): pytest.approx(float(row["lr"])) for row in rows}
    losses = [row["train_loss"] for row in history if "train_loss" in row]
    assert losses == [pytest.approx(float(row["train_loss"])) for row in read_table(runs[0] / "metrics.csv")]


def test_pictures_scores_and_the_best_checkpoint_are_there(runs):
    path, run = offline_run(runs[0])
    assert run["summary"]["best_checkpoint"] == str(runs[0] / "checkpoints/best.ckpt")
    assert run["summary"]["best_val_loss"] == pytest.approx(
        min(row["val_loss"] for row in run["history"] if "val_loss" in row)
    )
    names = sorted(picture.name.split("_")[0] for picture in path.glob("files/media/images/plots/*.png"))
    assert names == ["learning", "losses"]


@pytest.mark.parametrize(
    ("environment", "node", "mode"),
    [
        ({}, {}, "offline"),
        ({}, {"mode": "disabled"}, "disabled"),
        ({}, {"offline": False}, None),
        ({"WANDB_MODE": "online"}, {}, None),
        ({"WANDB_API_KEY": "x"}, {}, None),
    ],
)
def test_a_run_is_offline_unless_a_key_or_a_mode_is_set(monkeypatch, tmp_path, environment, node, mode):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert WeightsAndBiases.arguments(node, RunLabel("x"), tmp_path).get("mode") == mode


def test_name_and_tags_of_the_node_come_first(tmp_path):
    arguments = WeightsAndBiases.arguments({"name": "own", "tags": ["a"]}, RunLabel("x", ("b",)), tmp_path)
    assert (arguments["name"], arguments["tags"]) == ("own", ["a", "b"])
