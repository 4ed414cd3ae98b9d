"""What TensorBoard shows of a run, read from its files."""

import pytest

from partoken.report import present
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from tests.training.runs import settings

pytest.importorskip("tensorboard", reason="needs the extra tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TARGET = "pytorch_lightning.loggers.TensorBoardLogger"


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    groups = settings(trainer={"log_every_n_steps": 1})
    groups["logger"] = {"tensorboard": {"_target_": TARGET, "save_dir": str(folder), "name": "board", "version": ""}}
    groups["run"] = {"name": "base", "tags": ["paper"]}
    carry_out(groups, folder, present=present)
    events = EventAccumulator(str(folder / "board"), size_guidance={"images": 0}).Reload()
    return folder, events


def text(events, name):
    [event] = events.Tensors(f"{name}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def test_a_run_with_its_test_is_one_event_file(board):
    folder, events = board
    assert len(list((folder / "board").glob("events.out.tfevents.*"))) == 1
    assert {"train_loss", "val_loss", "test_loss", "best_val_loss"} <= set(events.Tags()["scalars"])


def test_the_rate_of_each_step_is_a_scalar(board):
    folder, events = board
    shown = [(event.step, event.value) for event in events.Scalars("lr/1")]
    rows = [row for row in read_table(folder / "lr.csv") if row["group"] == "1"]
    assert shown == [(int(row["step"]), pytest.approx(float(row["lr"]))) for row in rows]


def test_configuration_checkpoint_and_status_are_texts(board):
    folder, events = board
    configuration = text(events, "configuration")
    assert "\n  warmup_steps: 2\n" in configuration
    assert "\n  name: base\n" in configuration
    assert text(events, "best_checkpoint") == str(folder / "checkpoints/best.ckpt")
    assert text(events, "status") == "finished"


def test_the_table_of_hyper_parameters_has_the_best_score_and_no_placeholder(board):
    folder, events = board
    assert "hp_metric" not in events.Tags()["scalars"]
    start = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"train.lr" in start
    assert b"best_val_loss" in events.summary_metadata["_hparams_/experiment"].plugin_data.content
    assert "warmup_steps: 2" in (folder / "board/hparams.yaml").read_text()


def test_the_pictures_of_the_run_folder_are_images(board):
    folder, events = board
    assert events.Tags()["images"] == ["plots/learning_rate", "plots/losses"]
    from matplotlib.image import imread

    height, width, _ = imread(folder / "plots/losses.png").shape
    [image] = events.Images("plots/losses")
    assert (image.height, image.width, image.step) == (height, width, 21)
