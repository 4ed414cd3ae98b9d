"""Overrides become a checked config, or one message that names the key."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from partoken.cli import train
from partoken.config import CONF, PATH_KEYS, absolute_paths, compose, job_groups, launch
from partoken.errors import UserError, did_you_mean
from tests.commands import ROOT, TRAIN


@pytest.mark.parametrize("file", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_experiment_composes_and_the_command_line_wins(file):
    cfg = compose([f"experiment={file.stem}", "train.lr=0.5"])
    assert cfg.train.lr == 0.5
    assert cfg.train != compose(["train.lr=0.5"]).train, "the experiment changes nothing of the training"
    assert f"python run_partoken.py experiment={file.stem}" in file.read_text()


def test_the_documents_command_composes():
    cfg = compose(["train.epochs=100", "train.lr=1e-3", "train.use_cosine_schedule=true", "train.warmup_epochs=10"])
    assert (cfg.train.epochs, cfg.train.lr, cfg.train.use_cosine_schedule, cfg.train.warmup_epochs) == (
        100,
        1e-3,
        True,
        10,
    )
    assert cfg.trainer.max_epochs == 100


def test_the_documents_defaults():
    train = compose([]).train
    assert train.use_cosine_schedule is False
    assert train.warmup_epochs == 5
    assert train.epochs > train.warmup_epochs  # `train.use_cosine_schedule=true` alone must run


@pytest.mark.parametrize(
    ("override", "found", "meant"),
    [
        ("train.epoch=3", "train.epoch", "train.epochs"),
        ("+train.warmup_epoch=3", "train.warmup_epoch", "train.warmup_epochs"),
        ("model.max_cluster=3", "model.max_cluster", "model.max_clusters"),
        ("trainer.max_step=3", "trainer.max_step", "trainer.max_steps"),
        ("data=embeded", "data=embeded", "embedded"),
        ("logger=null", "logger=null", "tensorboard"),
        ("experiment=", "experiment=", "enzymes"),
        ("train.epochs=many", "train.epochs='many'", "whole number"),
        ("train.use_cosine_schedule=3", "train.use_cosine_schedule=3", "true or false"),
        ("train.lr=fast", "train.lr='fast'", "number"),
        ("train.epochs=1.5", "train.epochs=1.5", "whole number"),
        ("train.epochs=true", "train.epochs=True", "whole number"),
    ],
)
def test_a_wrong_override_is_named_with_the_closest_right_one(override, found, meant):
    with pytest.raises(UserError) as caught:
        compose([override])
    assert found in str(caught.value)
    assert meant in str(caught.value)


def test_an_integer_is_a_float():
    assert compose(["train.lr=1"]).train.lr == 1


def test_warmup_may_be_a_fraction_of_an_epoch():
    assert compose(["train.warmup_epochs=0.5", "train.schedule_interval=step"]).train.warmup_epochs == 0.5
    with pytest.raises(UserError, match=r"train\.schedule_interval=step takes fractions"):
        compose(["train.warmup_epochs=0.5"])


def test_nothing_is_suggested_for_nonsense():
    assert did_you_mean("qqqq", ["train.lr"]) == ""


def test_composing_imports_no_torch():
    code = "import sys; from partoken.config import compose; compose([]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT).returncode == 0


def test_the_command_ends_with_one_message_and_no_traceback(tmp_path):
    command = [*TRAIN, "-m", "train.epoch=3,4", f"hydra.sweep.dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    assert "train.epoch" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "model=partoken,axion_stage1", "train.epoch=3"],
        ["-m", "experiment=enzymes,motifs", "train.epoch=3,4"],
        ["-m", "model=choice(partoken,axion_stage1)", "train.epoch=3"],
        ["-m", "model=glob(*)", "train.epoch=3"],
        ["-m", "sweep=lr", "train.epoch=3"],
        ["--config-dir", "{mine}", "experiment=mine", "train.epoch=3"],
        ["--config-dir", "{mine}", "experiment=mine", "+train.epoch=3"],
        ["-m", "--config-dir", "{mine}", "experiment=mine,enzymes", "train.epoch=3"],
    ],
    ids=" ".join,
)
def test_a_misspelt_key_beside_swept_groups_or_own_files_is_one_message(words, tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\ntrain:\n  epochs: 2\n")
    assert train([*(word.format(mine=tmp_path) for word in words), f"hydra.run.dir={tmp_path}"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said == ["error: train.epoch is not a key of the configuration. Did you mean train.epochs?"]


def test_a_value_that_is_a_sweep_without_m_is_one_line():
    with pytest.raises(UserError, match="model=partoken,axion_stage1: several values are a sweep, with -m") as caught:
        compose(["model=partoken,axion_stage1"])
    assert "\n" not in str(caught.value)


def carry_out(job, arguments, folder):
    """Runs a job in this process without logging; returns the exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hydra.core.utils.configure_log", lambda *_: None)
        patch.setattr("hydra._internal.hydra.configure_log", lambda *_: None)
        try:
            return launch(job, [*arguments, f"hydra.run.dir={folder / 'run'}", f"hydra.sweep.dir={folder / 'sweep'}"])
        finally:
            HydraConfig.instance().cfg = None


@pytest.mark.parametrize("word", ["false", "False", "true"])
def test_train_is_a_group_and_also_says_whether_the_run_trains(word, tmp_path):
    cfg = compose([f"train={word}", "train=default", "train.lr=0.5", "train.resume_from=best.ckpt"])
    assert (cfg.fit, cfg.train.lr) == (word == "true", 0.5)
    seen = []
    assert carry_out(lambda cfg: seen.append(cfg.fit), [f"train={word}", "train.resume_from=x"], tmp_path) == 0
    assert seen == [word == "true"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train=false"], "train=false tests a checkpoint and none is given; set train.resume_from="),
        (["train=false", "test=false", "train.resume_from=x"], "nothing is left to do"),
        (["test=maybe"], "test='maybe': must be true or false"),
        (["print_config=1"], "print_config=1: must be true or false"),
        (["callbacks=modle_summary"], "callbacks=modle_summary: no such option"),
        (["train.stage_epochs=0"], "train.stage_epochs=0: must be a whole number of 1 or more"),
    ],
    ids=lambda value: "",
)
def test_a_switch_that_leaves_nothing_to_do_is_rejected(overrides, message):
    with pytest.raises(UserError, match=message):
        compose(overrides)


def test_several_callbacks_and_presets_can_be_chosen_and_one_can_be_added(tmp_path):
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks/mine.yaml").write_text("mine:\n  _target_: tests.module.Mine\n  every: 3\n")
    cfg = compose(
        ["callbacks=[model_summary,mine]", "+callbacks.other._target_=tests.Other", "debug=[limit,profile]"], tmp_path
    )
    assert list(cfg.callbacks) == ["model_summary", "mine", "other"]
    assert (cfg.trainer.profiler, cfg.trainer.limit_train_batches, cfg.train.batch_size) == ("simple", 30, 4)
    assert compose([]).callbacks == {}


def test_relative_paths_mean_the_folder_of_the_command_also_if_the_job_runs_in_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["data=folder", "data.root=chains", f"data.labels={tmp_path}/labels.csv", "train.resume_from=a/last.ckpt"]
    seen = {}
    for change in ("true", "false"):
        arguments = [*words, f"hydra.job.chdir={change}"]
        assert carry_out(lambda cfg: seen.update({change: (job_groups(cfg), os.getcwd())}), arguments, tmp_path) == 0  # noqa: B023
    groups, folder = seen["true"]
    assert folder == str(tmp_path / "run")
    assert groups["data"]["root"] == str(tmp_path / "chains")
    assert groups["data"]["labels"] == str(tmp_path / "labels.csv")
    assert groups["train"]["resume_from"] == str(tmp_path / "a/last.ckpt")
    assert groups["data"]["cache_dir"] is None
    assert seen["false"][0]["data"]["root"] == "chains"


def test_paths_inside_stages_are_absolute_too():
    stages = {"first": {"data": {"root": "x"}}, "second": {"model": {"stage1_checkpoint": "/y/best.ckpt"}}}
    groups = absolute_paths({"train": {"stages": stages}}, Path("/home"))
    assert groups["train"]["stages"]["first"] == {"data": {"root": "/home/x"}}
    assert groups["train"]["stages"]["second"] == {"model": {"stage1_checkpoint": "/y/best.ckpt"}}


@pytest.mark.parametrize(
    ("given", "expected"), [("runs/a", "/start/runs/a"), ("a.ckpt", "/start/a.ckpt"), ("first.best", "first.best")]
)
def test_the_weights_of_a_stage_are_a_path_or_the_name_of_a_stage(given, expected):
    groups = absolute_paths({"train": {"stages": [{"epochs": 1, "weights_from": given}]}}, Path("/start"))
    assert groups["train"]["stages"] == [{"epochs": 1, "weights_from": expected}]


def test_a_null_replaces_a_mapping_of_an_experiment(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/own.yaml").write_text(
        "# @package _global_\ndata: {label_columns: {ec_top: {weight: 2}, enzyme: {}}}\n"
    )
    words = ["experiment=own", f"hydra.searchpath=[file://{tmp_path}]"]
    assert set(compose(words).data.label_columns) == {"ec_top", "enzyme"}
    assert compose([*words, "data.label_columns=null"]).data.label_columns is None


def test_every_key_that_a_file_calls_a_file_or_a_folder_is_a_known_path():
    for group, keys in PATH_KEYS.items():
        listed = {key for file in (CONF / group).glob("*.yaml") for key in yaml.safe_load(file.read_text())}
        assert set(keys) <= listed
        for file in (CONF / group).glob("*.yaml"):
            comments = re.findall(r"^(\w+):[^#\n]*#\s*(?:the |another )?(.+)$", file.read_text(), re.MULTILINE)
            paths = {
                key for key, text in comments if re.match(r"(NPZ |CSV )?(folder|file|checkpoint|run folder)\b", text)
            }
            assert paths <= set(keys), file


def test_a_key_that_the_file_of_a_stage_does_not_list_can_be_set_by_name():
    stages = compose(["experiment=multistage", "train.stages.joint.min_lr=1e-5", "train.stages.joint.model.nhid=7"])
    assert stages.train.stages.joint.min_lr == 1e-5
    assert stages.train.stages.joint.model.nhid == 7
    assert stages.train.stages.joint.epochs == compose(["experiment=multistage"]).train.stages.joint.epochs


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stages.jont.epochs=5", "Did you mean train.stages.joint.epochs"),
        ("train.stages.joint.epoch=5", "Did you mean epochs"),
    ],
)
def test_a_misspelt_stage_or_key_of_a_stage_is_an_error_with_the_closest_one(override, message):
    with pytest.raises(UserError, match=message):
        compose(["experiment=multistage", override])


def test_a_stage_cannot_be_made_by_setting_one_of_its_keys():
    with pytest.raises(UserError, match=r"train\.stages\.joint\.epochs is not a key"):
        compose(["train.stages.joint.epochs=5"])


def test_the_log_file_of_a_run_is_closed_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
    log_file = tmp_path / "run.log"

    def refuse(cfg):
        logging.getLogger().addHandler(logging.FileHandler(log_file))
        raise UserError("refused")

    assert carry_out(refuse, [], tmp_path) == 2
    assert str(log_file) not in [getattr(handler, "baseFilename", None) for handler in logging.getLogger().handlers]
