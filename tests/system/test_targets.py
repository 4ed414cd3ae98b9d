"""Only what an allow-list names is imported or called; nothing else of a configuration runs."""

import pytest

from partoken.config import compose, launch
from partoken.errors import UserError
from partoken.system import targets
from partoken.system.targets import check_logging, check_targets, find_target, trust
from partoken.training.torch_scheduler import check_torch_scheduler

HARM = "{_target_: os.system, command: touch harm}"
STEP = "_target_: torch.optim.lr_scheduler.StepLR, step_size: 1"


@pytest.fixture(autouse=True)
def own_trust(monkeypatch):
    """What a test trusts ends with it."""
    monkeypatch.setattr(targets, "_trusted", {"tests"})


@pytest.mark.parametrize(
    "words",
    [
        [f"train.scheduler={HARM}"],
        [f"train.scheduler={{_target_: torch.optim.lr_scheduler.SequentialLR, milestones: [1], schedulers: [{HARM}]}}"],
        [f"train.scheduler={{{STEP}, gamma: {HARM}}}"],
        ["train._target_=os.system"],
        ["data._target_=os.system", "+data.command=touch harm"],
        ["model._target_=os.system", "+model.command=touch harm"],
        [f"train.stages=[{{epochs: 1, {HARM[1:]}]"],
        [f"train.stages=[{{epochs: 1, model: {HARM}}}]"],
        [f"+callbacks.mine={HARM}"],
        [f"+logger.mine={HARM}"],
        ["launcher._target_=os.system", "+launcher.command=touch harm"],
        ["model=axion_stage1", f"model.backbone_class={HARM}"],
    ],
    ids=lambda words: words[0][:40],
)
def test_no_group_of_a_configuration_names_a_command(words):
    with pytest.raises(UserError, match=r"_target_=os\.system: is not allowed"):
        compose(words)


@pytest.mark.parametrize(
    "word",
    [
        f"+hydra.callbacks.mine={HARM}",
        "hydra.launcher._target_=os.system",
        "+hydra.job_logging.handlers.mine={class: subprocess.Popen, args: [touch, harm]}",
        f"train.scheduler={HARM}",
    ],
)
def test_nothing_runs_before_a_configuration_is_refused_and_no_folder_is_left(word, tmp_path, capsys):
    ran = []
    words = [word.replace("harm", str(tmp_path / "harm")), f"hydra.run.dir={tmp_path}/run"]
    assert launch(ran.append, words) == 2
    assert "os.system: is not allowed" in (said := capsys.readouterr().err) or "must be a class of logging" in said
    assert said.count("\n") == 1
    assert (ran, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "partoken.system.process.os",
        "partoken.cli.train",
        "partoken.config.Path",
        "torch.nn.functional.relu",
        "torch.optim.lr_scheduler.partial",
        "torchvision.Network",
    ],
)
def test_a_name_that_reaches_other_code_is_refused(target):
    with pytest.raises((UserError, ImportError, AttributeError)):
        find_target(target)


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.lr_scheduler.StepLR",
        "torch.nn.Identity",
        "pytorch_lightning.loggers.CSVLogger",
        "pytorch_lightning.callbacks.ModelSummary",
        "pytorch_lightning.profilers.SimpleProfiler",
        "partoken.training.settings.TrainSettings",
        "partoken.protein.catalog.embedded",
    ],
)
def test_classes_and_the_functions_of_a_catalog_are_allowed(target):
    assert callable(find_target(target))


def test_a_nested_scheduler_is_checked_before_the_outer_one_is_created(tmp_path):
    inner = {"_target_": "os.system", "command": f"touch {tmp_path}/harm"}
    node = {"_target_": "torch.optim.lr_scheduler.SequentialLR", "schedulers": [inner], "milestones": [1]}
    with pytest.raises(UserError, match=r"os\.system: is not allowed"):
        check_torch_scheduler(node)
    assert not list(tmp_path.iterdir())


def test_the_command_line_may_allow_more_and_a_file_may_not(tmp_path):
    own = "+logger.mine._target_=my_package.loggers.Mine"
    with pytest.raises(UserError, match=r"logger\.mine\._target_=.* add allow_targets=\[my_package\]"):
        compose([own])
    assert compose([own, "allow_targets=[my_package]"]).logger.mine._target_ == "my_package.loggers.Mine"
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/theirs.yaml").write_text("# @package _global_\nallow_targets: [os]\n")
    with pytest.raises(UserError, match=r"allow_targets=\['os'\]: a file sets it"):
        compose(["experiment=theirs"], tmp_path)


@pytest.mark.parametrize("names", [["a b"], [3], ["os."], [""]])
def test_what_is_trusted_must_be_dotted_names(names):
    with pytest.raises(UserError, match=r"allow_targets=.*\[my_package\]"):
        trust(names)


@pytest.mark.parametrize("target", [3, None, "system", ["os.system"]])
def test_a_target_that_is_no_dotted_name_is_refused(target):
    with pytest.raises(UserError, match=r"data\._target_=.*name of a class"):
        check_targets({"data": {"_target_": target}})


def test_handlers_of_the_standard_library_are_allowed():
    check_logging({"handlers": {"file": {"class": "logging.handlers.RotatingFileHandler"}}}, "hydra.job_logging")
    for name in ("class", "()"):
        with pytest.raises(UserError, match=r"hydra\.job_logging\.a\..*=logging\.os\.system"):
            check_logging({"a": {name: "logging.os.system"}}, "hydra.job_logging")
