"""The `partoken` command: from an empty folder, with a user's own YAML files, and asked by a shell for completions."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import partoken
from partoken.cli import main
from partoken.config import CONF, compose
from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.training.probes.cost import Measurement
from partoken.training.probes.lr_range import RangeTest
from partoken.training.probes.range_curve import analyse
from partoken.training.probes.stopwatch import StageTimes
from tests.commands import IN_CLONE, ROOT
from tests.protein.structures import pdb_text
from tests.sweep.made import write_sweep

PARTOKEN = str(Path(sys.executable).with_name("partoken"))
SMALL = [
    "data.limit=24",
    "train.batch_size=4",
    "train.epochs=1",
    "model=published",
    "model.node_h_dim=[16,4]",
    "model.num_layers=1",
    "model.num_neighbors=8",
    "model.max_clusters=4",
    "model.codebook_size=16",
]
NAMES = ["train", "preview", "cost", "lr-range", "inspect", "predict", "explain", "report", "sweep"]
OWN_DATA = "defaults:\n  - embedded\n  - _self_\nlimit: 24\nlabel_column: ec_top\n"
OWN_EXPERIMENT = "# @package _global_\ndefaults:\n  - override /data: mine\ntrain:\n  epochs: 7\n  lr: 0.125\n"


def run(*arguments, cwd, code=0, **variables):
    """Runs `partoken` of this environment with the package under test; returns its output and errors."""
    variables = {"PYTHONPATH": str(Path(partoken.__file__).parents[1]), **variables}
    done = subprocess.run(
        [PARTOKEN, *arguments], cwd=cwd, capture_output=True, text=True, env={**os.environ, **variables}
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def complete(line, cwd):
    """Returns what bash is offered after a command line."""
    words, _ = run("-sc", "query=bash", cwd=cwd, COMP_LINE=line, COMP_POINT=str(len(line)))
    return words.split()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A user's folder with a data file and an experiment that uses it."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in {"data/mine.yaml": OWN_DATA, "experiment/trial.yaml": OWN_EXPERIMENT}.items():
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)
    return folder


def test_a_stranger_trains_previews_and_predicts_in_an_empty_folder(tmp_path):
    printed, _ = run("train", *SMALL, cwd=tmp_path)
    (run_folder,) = tmp_path.glob("outputs/*/*")
    assert str(run_folder) in printed
    assert json.loads((run_folder / "summary.json").read_text())["test"]["accuracy"] >= 0
    chain = embedded(limit=24).dataset("test").store.read(range(1))[0]
    (tmp_path / "one.pdb").write_text(pdb_text(chain))
    checkpoint = next(run_folder.glob("checkpoints/best.ckpt"))
    printed, _ = run("predict", str(checkpoint), "one.pdb", "--out", "table.csv", "--device", "cpu", cwd=tmp_path)
    assert "1 chains classified" in printed and (tmp_path / "table.csv").read_text().count("\n") == 2
    printed, _ = run("preview", "train.use_cosine_schedule=true", "train.epochs=20", cwd=tmp_path)
    assert "warm-up 5 epochs" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"outputs", "one.pdb", "table.csv"}


def test_two_devices_train_an_own_experiment_with_the_installed_command(own, tmp_path):
    """Lightning repeats the command line to start the second process."""
    added = ["--config-dir", os.path.relpath(own, tmp_path), "experiment=trial", *SMALL]
    scheduled = ["train.use_cosine_schedule=true", "train.schedule_interval=step", "train.warmup_epochs=0.5"]
    counted = ["data.epochs_per_pass=1", "trainer.accumulate_grad_batches=2", "train.epochs=2"]
    devices = ["trainer.accelerator=cpu", "trainer.devices=2"]
    said = run("train", *added, *scheduled, *counted, *devices, "hydra.run.dir=run", cwd=tmp_path)
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert "label_column: ec_top" in (tmp_path / "run/.hydra/config.yaml").read_text()
    # 17 chains in batches of 4: 5 batches, 6 on two devices; 3 on each, 2 optimizer steps an epoch
    assert summary["schedule"]["planned_steps"] == summary["schedule"]["steps"] == 4
    with open(tmp_path / "run/lr.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["step"], row["group"]) for row in table] == [(str(s), g) for s in range(4) for g in ("0", "1")]
    assert [float(row["lr"]) for row in table[::2]] == pytest.approx([0, 0.125, 0.75 * 0.125, 0.25 * 0.125])
    assert sum(map(sum, summary["confusion_matrix"])) == 4, "every test chain is counted once"
    assert "".join(said).count("run folder") == 2


def test_cost_measures_a_run_and_leaves_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, "trainer.limit_train_batches=2", "cost=true"]) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"^training +1 +2 .*\nstart and end .*\nmemory .*\ntime .*\nend .* if it starts now$", printed, re.M
    )
    assert list(tmp_path.iterdir()) == []


def test_the_cost_of_a_sweep_has_a_line_for_each_job(tmp_path, monkeypatch, capsys):
    stage = StageTimes("", 5, 1, 5, first_window=(1, 2.0), windows=[(1, 1.0)])
    measured = Measurement(10.0, 20.0, [stage], 10**9, None)
    monkeypatch.setattr("partoken.training.probes.cost_report.measure_apart", lambda settings, present: measured)
    monkeypatch.setattr("partoken.sweep.local.use_threads", lambda threads: None)
    monkeypatch.chdir(tmp_path)
    words = ["-m", "train.epochs=1,6", "train.warmup_epochs=0", "train.use_cosine_schedule=true,maybe"]
    assert main(["cost", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("would fail: train.use_cosine_schedule" in line for line in lines) == 2
    expected = "0: train.epochs=1 train.warmup_epochs=0 train.use_cosine_schedule=True  5 steps, 15 s ("
    assert any(line.startswith(expected) for line in lines), lines
    assert "2 jobs one after another, from 1 measurement: 55 s" in lines[-2]
    assert list(tmp_path.iterdir()) == []


def test_cost_in_a_file_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "dear.yaml").write_text("defaults:\n  - config_partoken\n  - _self_\ncost: true\n")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config-dir", ".", "--config-name", "dear", "hydra.run.dir=run"]) == 2
    assert "cost=True: a file sets it; set cost: false there" in capsys.readouterr().err


def test_a_range_test_leaves_a_table_and_a_picture(tmp_path, monkeypatch, capsys):
    curve, asked = analyse([1e-3, 1e-2, 1e-1], [2.0, 1.0, float("inf")]), []

    def answer(settings, test, *, stage):
        asked.append((settings["train"]["epochs"], test, stage))
        return curve, {"train.lr": 0.01}

    monkeypatch.setattr("partoken.training.probes.lr_range.range_test", answer)
    monkeypatch.chdir(tmp_path)
    words = ["train.epochs=7", "--min", "1e-3", "train.lr=1", "--steps", "30", "--max", "0.1", "--stage", "first"]
    assert main(["lr-range", *words, "--out", "here"]) == 0
    assert asked == [(7, RangeTest(low=1e-3, high=0.1, steps=30), "first")]
    assert "next: partoken train train.epochs=7 train.lr=0.01\n" in capsys.readouterr().out
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["here", "lr_range.csv", "lr_range.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min", "1", "--max", "0.1"], "--max=0.1 must be above --min=1"),
        (["train.epoch=3"], "Did you mean train.epochs?"),
        (["trainer.devices=2"], "partoken lr-range works on one device, and the trainer has 2"),
    ],
    ids=str,
)
def test_a_range_test_that_cannot_be_made_ends_in_one_message(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["lr-range", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_the_one_of_the_package(tmp_path):
    assert run("--version", cwd=tmp_path)[0].strip() == partoken.__version__


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    listed = capsys.readouterr().out
    assert all(f"\n    {command} " in listed for command in NAMES)


def test_help_of_train_lists_groups_and_keys(tmp_path):
    printed, _ = run("train", "--help", cwd=tmp_path)
    assert "data: arrays, embedded, folder, proteinshake, synthetic" in printed
    assert "use_cosine_schedule: false" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--help"],
        ["train", "--cfg", "job"],
        ["train", "train.epoch=3"],
        ["sweep", "made"],
        ["--help"],
        ["-sc", "query=bash"],
    ],
    ids=" ".join,
)
def test_torch_is_not_imported_before_a_run_is_certain(arguments, tmp_path):
    (tmp_path / "made").mkdir()
    write_sweep(tmp_path / "made", [({"train.lr": 0.1}, {"best": 0.5, "curve": [0.5]}), ({"train.lr": 0.2}, None)])
    code = "import sys; from partoken.cli import main; sys.argv[1:] = []\n"
    code += f"try: main({arguments!r})\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules)"
    variables = {"PYTHONPATH": str(Path(partoken.__file__).parents[1]), "COMP_LINE": "partoken train data="}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **variables})
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train.epoch=3"], "Did you mean train.epochs?"),
        (["data=embeded"], "Did you mean embedded?"),
        (["train.epochs=0"], "train.epochs=0"),
        (["--config-dir", "data"], "--config-dir=data: no such folder"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_user_error_ends_in_one_message_and_status_2(arguments, words, tmp_path):
    _, errors = run("train", *arguments, "hydra.run.dir=run", cwd=tmp_path, code=2)
    assert words in errors and "Traceback" not in errors


@pytest.mark.skipif(not IN_CLONE, reason="run_partoken.py is part of a clone")
@pytest.mark.parametrize(
    "arguments",
    [["--cfg", "job", "train.lr=0.5"], ["--help"], ["train.epoch=3"], ["logger=null"], ["--info", "searchpath"]],
    ids=" ".join,
)
def test_the_script_of_a_clone_answers_as_the_installed_command(arguments, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = subprocess.run(
        [sys.executable, ROOT / "run_partoken.py", *arguments], cwd=tmp_path, capture_output=True, text=True, env=env
    )
    assert (script.stdout, script.stderr) == run("train", *arguments, cwd=tmp_path, code=script.returncode)


def test_config_dir_adds_an_experiment_and_a_data_file(own, tmp_path):
    printed, _ = run("train", "--config-dir", str(own), "experiment=trial", "--cfg", "job", cwd=tmp_path)
    assert "label_column: ec_top" in printed and "epochs: 7" in printed and "lr: 0.125" in printed


def test_searchpath_adds_files_as_config_dir_does(own, tmp_path):
    printed, _ = run("train", f"hydra.searchpath=[file://{own}]", "data=mine", "--cfg", "job", cwd=tmp_path)
    assert "label_column: ec_top" in printed


@pytest.mark.parametrize("way", ["--config-dir", "hydra.searchpath"])
def test_a_misspelt_key_beside_an_own_experiment_is_named(way, own, tmp_path):
    added = ["--config-dir", str(own)] if way == "--config-dir" else [f"hydra.searchpath=[file://{own}]"]
    _, errors = run("train", *added, "experiment=trial", "train.epoch=3", cwd=tmp_path, code=2)
    assert errors == "error: train.epoch is not a key of the configuration. Did you mean train.epochs?\n"


def test_the_options_in_a_message_include_those_of_config_dir(own, tmp_path):
    _, errors = run("train", "--config-dir", str(own), "experiment=trail", cwd=tmp_path, code=2)
    assert ", trial. Did you mean trial?" in errors


def test_the_keys_of_an_own_primary_config_are_those_of_its_choices(tmp_path):
    (tmp_path / "mine.yaml").write_text("defaults:\n  - config_partoken\n  - override data: synthetic\n  - _self_\n")
    arguments = ["--config-dir", str(tmp_path), "--config-name", "mine", "hydra.run.dir=run"]
    _, errors = run("train", *arguments, "+data.num_chain=40", cwd=tmp_path, code=2)
    assert "Did you mean data.num_chains?" in errors
    _, errors = run("train", *arguments, "data.num_chains=40", "train.epochs=0", cwd=tmp_path, code=2)
    assert "train.epochs=0" in errors, "data.num_chains was accepted"


def test_config_path_replaces_conf_with_a_folder_beside_the_user(tmp_path):
    shutil.copytree(CONF, tmp_path / "mine")
    (tmp_path / "mine/data/embedded.yaml").write_text("_target_: partoken.protein.catalog.embedded\nlimit: 33\n")
    printed, _ = run("train", "--config-path", "mine", "--cfg", "job", cwd=tmp_path)
    assert "limit: 33" in printed


def test_a_preview_uses_the_files_of_config_dir(own, capsys):
    assert main(["preview", "--config-dir", str(own), "experiment=trial", "train.use_cosine_schedule=true"]) == 0
    assert "to 1.25e-01, then cosine to 0.00e+00 at epoch 7" in capsys.readouterr().out


def test_a_file_that_conf_would_hide_is_an_error(own, tmp_path):
    shutil.copytree(own, tmp_path / "own")
    (tmp_path / "own/data/embedded.yaml").write_text(OWN_DATA)
    with pytest.raises(UserError, match=r"own/data/embedded\.yaml: .* has the same name .*rename your file"):
        compose([], tmp_path / "own")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("partoken ", NAMES),
        ("partoken pre", ["preview", "predict"]),
        ("partoken train train.warmup_e", ["train.warmup_epochs="]),
        ("partoken train data=em", ["data=embedded"]),
        ("partoken train data=synthetic data.num_ch", ["data.num_chains="]),
        ("partoken preview train.warmup_s", ["train.warmup_steps="]),
        ("bin/partoken train train.min_l", ["train.min_lr="]),
        ("partoken predict outputs/", []),
    ],
)
def test_a_shell_completes_commands_options_and_keys(line, offered, tmp_path):
    assert complete(line, tmp_path) == offered


def test_a_shell_completes_options_of_config_dir(own, tmp_path):
    assert complete(f"partoken train --config-dir {own} experiment=tr", tmp_path) == ["experiment=trial"]


def test_bash_calls_the_installed_completion(tmp_path):
    script = f"""
        PATH={Path(PARTOKEN).parent}:$PATH
        eval "$(partoken train --shell-completion install=bash)"
        COMP_LINE="partoken train train.warmup_e" COMP_POINT=29 COMP_CWORD=2
        hydra_bash_completion
        echo "$(complete -p partoken)" "${{COMPREPLY[@]}}"
    """
    env = {**os.environ, "PYTHONPATH": str(Path(partoken.__file__).parents[1])}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert "hydra_bash_completion partoken train.warmup_epochs=" in done.stdout, done.stderr


@pytest.mark.skipif(not IN_CLONE, reason="run_partoken.py is part of a clone")
def test_a_shell_completes_the_script_of_a_clone():
    env = {**os.environ, "COMP_LINE": "python run_partoken.py train.warmup_e"}
    done = subprocess.run(
        [sys.executable, "run_partoken.py", "-sc", "query=bash"], cwd=ROOT, capture_output=True, text=True, env=env
    )
    assert done.stdout.split() == ["train.warmup_epochs="]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("os.path", "names os.path to predict with: must be a module of partoken"),
        ("partoken_other.predict", "must be a module of partoken"),
        ("partoken.lunar", "which this version of partoken does not have"),
        (None, "does not know how to predict with this model"),
    ],
)
def test_a_checkpoint_that_names_another_module_is_refused(named, message, tmp_path, capsys):
    torch.save({"state_dict": {}, "partoken_predict": named}, tmp_path / "a.ckpt")
    assert main(["predict", str(tmp_path / "a.ckpt"), "x", "--out", "y.csv"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("named", [{}, {"partoken_predict": "partoken.protein.predict"}], ids=["older", "newer"])
def test_a_checkpoint_of_structures_goes_to_their_prediction(named, tmp_path, monkeypatch, capsys):
    torch.save({"state_dict": {}, **named}, tmp_path / "a.ckpt")
    calls = []
    predict = "partoken.protein.predict.predict_files"
    monkeypatch.setattr(predict, lambda *given, **options: calls.append((given, options)) or iter(["two", "lines"]))
    assert main(["predict", str(tmp_path / "a.ckpt"), "x", "z", "--out", "y.csv"]) == 0
    assert calls == [((str(tmp_path / "a.ckpt"), ["x", "z"], "y.csv", None), {})]
    assert capsys.readouterr().out == "two\nlines\n"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "p.csv", "--month", "3"], "--month: a.ckpt classifies structures, which have no such option"),
        (["--out", "."], "--out .: is a folder; a.ckpt classifies structures, so name a CSV file"),
    ],
    ids=["option", "folder"],
)
def test_structures_refuse_what_belongs_to_radar(more, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}}, "a.ckpt")
    assert main(["predict", "a.ckpt", "x.pdb", *more]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["lr", "search"])
def test_values_for_several_jobs_without_m_are_refused(option, tmp_path, capsys):
    assert main(["train", f"sweep={option}", f"hydra.run.dir={tmp_path}"]) == 2
    assert f"sweep={option} is for several jobs: add -m" in capsys.readouterr().err
    assert not (tmp_path / "status.json").exists()
