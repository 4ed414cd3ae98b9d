"""Callbacks of the user run in every stage, keep their state, and are checked before anything is read."""

import pytest

from partoken.errors import UserError
from partoken.training.callbacks import build_callbacks
from partoken.training.engine import carry_out
from tests.training.runs import settings

TARGET = "tests.training.watchers.CountsBatches"


def with_callback(path, **train):
    return {**settings(**train), "callbacks": {"mine": {"_target_": TARGET, "path": str(path)}}}


def test_a_callback_of_the_user_watches_every_stage_anew(tmp_path):
    counts = tmp_path / "counts"
    carry_out(with_callback(counts, stages=[{"epochs": 2}, {"epochs": 3}], warmup_steps=0), tmp_path)
    assert counts.read_text().split() == ["14", "21"]  # 7 batches in an epoch


def test_the_state_of_a_callback_continues_after_a_resume(tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    counts = tmp_path / "counts"
    carry_out(with_callback(counts, use_cosine_schedule=False), folders[0])
    checkpoint = str(folders[0] / "checkpoints/last.ckpt")
    carry_out(with_callback(counts, use_cosine_schedule=False, epochs=5, resume_from=checkpoint), folders[1])
    assert counts.read_text().split() == ["21", "35"]


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": "tests.module.Mine"}, ["callbacks.mine._target_=tests.module.Mine", "cannot be imported"]),
        ({"_target_": "tests.training.watchers.Missing"}, ["callbacks.mine._target_", "Missing"]),
        ({"_target_": "collections.OrderedDict"}, ["is not allowed", "allow_targets=[collections]"]),
        ({"_target_": "torch.nn.Linear"}, ["subclass of pytorch_lightning.Callback"]),
        ({"_target_": "tests.training.watchers.not_a_callback"}, ["must create a pytorch_lightning.Callback"]),
        ({"_target_": TARGET}, ["callbacks.mine", "path"]),
        ({"_target_": TARGET, "path": "x", "evry": 2}, ["callbacks.mine.evry is not a setting of", "~callbacks.mine"]),
        ({"_target_": TARGET, "path": "x", "every": 0}, ["callbacks.mine", "every=0 must be 1 or more"]),
        ({"path": "x"}, ["callbacks.mine={'path': 'x'}", "_target_"]),
        ("text", ["callbacks.mine='text'"]),
        ({"_target_": "pytorch_lightning.callbacks.LearningRateFinder"}, ["cannot be used here", "train.lr"]),
        ({"_target_": "pytorch_lightning.callbacks.BackboneFinetuning"}, ["cannot be used here", "train.stages"]),
    ],
    ids=lambda value: "",
)
def test_a_wrong_callback_is_one_message_before_anything_is_written(node, words, tmp_path):
    with pytest.raises(UserError) as caught:
        carry_out({**settings(), "callbacks": {"mine": node}}, tmp_path)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "data_report.json").exists()


def test_a_callback_that_needs_a_logger_says_so(tmp_path):
    node = {"_target_": "pytorch_lightning.callbacks.DeviceStatsMonitor"}
    with pytest.raises(UserError, match=r"trainer: Cannot use `DeviceStatsMonitor` callback with `Trainer\(logger=F"):
        carry_out({**settings(), "callbacks": {"stats": node}}, tmp_path)


def test_two_callbacks_with_the_same_state_are_a_message(tmp_path):
    node = {"_target_": TARGET, "path": str(tmp_path / "counts")}
    with pytest.raises(UserError, match="Found more than one stateful callback of type `CountsBatches`"):
        carry_out({**settings(), "callbacks": {"first": node, "second": node}}, tmp_path)


def test_the_group_is_a_mapping_by_name_and_null_removes_one():
    with pytest.raises(UserError, match=r"callbacks=\['x'\]: must be a mapping"):
        build_callbacks(["x"])
    assert build_callbacks({"mine": None}) == []
