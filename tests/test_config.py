"""Overrides become a checked config, or one message that names the key."""

import subprocess
import sys

import pytest

from partoken.config import CONF, compose
from partoken.errors import UserError, did_you_mean
from tests.commands import ROOT, TRAIN


@pytest.mark.parametrize("file", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_experiment_composes_and_the_command_line_wins(file):
    cfg = compose([f"experiment={file.stem}", "train.lr=0.5"])
    defaults = compose([]).train
    assert cfg.train.lr == 0.5
    assert (cfg.train.epochs, cfg.train.stages) != (defaults.epochs, defaults.stages)
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


@pytest.mark.parametrize(
    "arguments",
    [["train.epoch=3"], ["train.epochs=many"], ["data.min_class_size=0"], ["-m", "train.epoch=3,4"], ["data=nowhere"]],
)
def test_the_command_ends_with_one_message_and_no_traceback(arguments, tmp_path):
    command = [
        *TRAIN,
        *arguments,
        f"hydra.run.dir={tmp_path}",
        f"hydra.sweep.dir={tmp_path}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    assert arguments[-1].split("=")[0] in done.stderr
    if "-m" not in arguments:
        assert len(done.stderr.splitlines()) == 1


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
