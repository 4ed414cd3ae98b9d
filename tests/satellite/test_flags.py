"""The flags of the Axion-Sat document: their translation, their priority, and the runs that they start."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import partoken
from partoken.config import compose
from partoken.errors import UserError
from partoken.satellite import flags, train_stage1, train_stage2
from partoken.satellite.flags import FLAGS, STAGE2, translate
from partoken.schedule.length import RunLength
from partoken.schedule.stages import plan_run
from partoken.schedule.tables import SCENARIOS, TILES
from partoken.system.tables import read_table
from partoken.training.engine import carry_out, check_outcome
from partoken.training.settings import TrainSettings
from tests.satellite.made_tiles import made_bands, write_tile

STAGE1 = ["--stage1_dir", "outputs/stage1"]
GIVEN = {
    "warmup_steps": "7",
    "lr": "3e-4",
    "epochs": "5",
    "batch_size": "2",
    "grad_accum": "4",
    "resume": "outputs/run/checkpoints/last.ckpt",
    "max_samples": "30",
    "data_dir": "tiles",
    "output_dir": "outputs/run",
}
FILE = "training:\n  learning_rate: 2e-4\n  lr_scheduler: {min_lr: 1e-7, warmup_steps: 40}\n"
NUM_TRAIN_TILES = 16
SMALL = {
    1: ["model.channels=[2,2]", "model.depths=[1,1]"],
    2: ["model.refiner_channels=2", "model.refiner_blocks=1", "model.discriminator_channels=2"],
}
QUIET = ["trainer.enable_progress_bar=false", "trainer.accelerator=cpu"]
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="half precision with a scaler needs a GPU")


def composed(stage, *words):
    """Returns the configuration of a run; only Hydra itself knows keys of `hydra`."""
    return compose([word for word in translate(stage, words) if not word.startswith("hydra.")])


def written(folder, text):
    path = folder / "axion.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("stage", "more"), [(1, []), (2, STAGE1)], ids=["stage 1", "stage 2"])
def test_every_flag_sets_its_key(tmp_path, stage, more):
    words = [word for name, value in GIVEN.items() for word in (f"--{name}", value)]
    cfg = composed(stage, *words, *more, "--config", written(tmp_path, FILE))
    assert (cfg.train.warmup_steps, cfg.train.lr, cfg.train.min_lr) == (7, 3e-4, 1e-7)
    assert (cfg.train.epochs, cfg.train.batch_size, cfg.trainer.accumulate_grad_batches) == (5, 2, 4)
    assert (cfg.train.resume_from, cfg.data.limit, cfg.data.root) == (GIVEN["resume"], 30, "tiles")
    assert "hydra.run.dir=outputs/run" in translate(stage, words)
    assert cfg.model._target_ == f"partoken.satellite.task.Stage{stage}Task"
    assert stage == 1 or cfg.data.stage1_dir == "outputs/stage1"
    assert {"config", "stage1_dir", *GIVEN} == set(FLAGS)


def test_without_flags_the_tiles_of_the_package_and_the_defaults_of_the_experiment_are_used():
    assert composed(1) == compose(["experiment=axion_stage1"])
    assert composed(1).data._target_ == "partoken.satellite.catalog.embedded"
    assert composed(1).train.warmup_steps is composed(1).train.warmup_epochs is None  # 10 % of the run


@pytest.mark.parametrize(
    ("words", "file", "expected"),
    [
        (["--warmup_steps", "500", "--lr", "5e-4"], FILE, (500, 5e-4, 1e-7)),
        (["--lr", "5e-4"], FILE, (40, 5e-4, 1e-7)),
        ([], FILE, (40, 2e-4, 1e-7)),
        ([], "training: {learning_rate: 1e-5}\n", (None, 1e-5, 0.0)),
        ([], "training:\n  lr_scheduler:\n", (None, 2e-3, 0.0)),
        ([], "", (None, 2e-3, 0.0)),
        (["train.warmup_steps=9", "train.lr=0.5"], FILE, (9, 0.5, 1e-7)),
    ],
    ids=["flags", "one flag", "file", "part of a file", "empty group", "empty file", "overrides"],
)
def test_an_override_wins_over_a_flag_a_flag_over_the_file_and_the_file_over_the_default(
    tmp_path, words, file, expected
):
    train = composed(1, "--config", written(tmp_path, file), *words).train
    assert (train.warmup_steps, train.lr, train.min_lr) == expected


def test_stage_2_without_stage_1_trains_both_and_the_flags_are_of_stage_2(tmp_path):
    words = ["--lr", "5e-4", "--epochs", "3", "--batch_size", "1", "--config", written(tmp_path, FILE)]
    assert translate(2, words) == [
        "experiment=axion",
        f"{STAGE2}.min_lr=1e-07",
        f"{STAGE2}.warmup_steps=40",
        f"{STAGE2}.lr=0.0005",
        f"{STAGE2}.epochs=3",
        "train.batch_size=1",
    ]


def test_a_stage_1_that_is_there_is_not_trained_again():
    assert translate(2, STAGE1) == ["experiment=axion_stage2", "data.stage1_dir=outputs/stage1"]


@pytest.mark.parametrize(
    "folder", ["my tiles", "it's", "a\\'b", "ends\\", "2024", "null", "1e5", "a,b=c", "{x}", "${x}", "größe", "~/x"]
)
def test_a_folder_of_any_name_arrives_as_it_is(folder):
    assert composed(1, "--data_dir", folder).data.root == os.path.expanduser(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--warmup_stps", "5"], r"--warmup_stps is no flag\. Did you mean --warmup_steps\?"),
        (["--lr", "fast"], r"--lr='fast': must be a number above 0"),
        (["--lr", "0"], r"--lr=0\.0: must be a number above 0"),
        (["--epochs", "1.5"], r"--epochs='1\.5': must be a whole number of 1 or more"),
        (["--warmup_steps", "-1"], r"--warmup_steps=-1: must be a whole number of 0 or more"),
        (["--grad_accum"], "--grad_accum: expected one argument"),
        (["--stage1_dir", "x"], r"--stage1_dir=x: stage 1 starts from no other stage; leave the flag out"),
        (["--config", "missing.yaml"], r"--config=missing\.yaml: No such file or directory; name a YAML file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_a_flag_ends_with_one_message(words, message):
    with pytest.raises(UserError, match=message):
        translate(1, words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {lr_schedular: {min_lr: 1}}", r"training\.lr_schedular\.min_lr is not a key here\. Did you mean"),
        ("training: {epochs: 5}", r"training\.epochs is not a key here\..* as an override such as"),
        ("model:", "model is not a key here"),
        ("training: {learning_rate: high}", r"training\.learning_rate='high': must be a number above 0"),
        ("training: {lr_scheduler: {warmup_steps: 2.5}}", r"warmup_steps=2\.5: must be a whole number"),
        ("training: {lr_scheduler: {min_lr: -1}}", r"min_lr=-1: must be a number of 0 or more"),
        ("training: [1]", "training is not a key here"),
        ("- 1\n", "must hold keys such as training.learning_rate, not a list"),
        ("training: {", "is not readable as YAML"),
        ("training: {learning_rate: '${x}'}", "is not readable as YAML"),
    ],
)
def test_a_mistake_in_the_file_ends_with_one_message(tmp_path, text, message):
    with pytest.raises(UserError, match=rf"axion\.yaml: .*{message}|axion\.yaml: {message}"):
        translate(1, ["--config", written(tmp_path, text)])


@pytest.mark.parametrize(("command", "stage"), [(train_stage1, 1), (train_stage2, 2)], ids=["stage 1", "stage 2"])
def test_the_command_becomes_a_training_and_says_which(monkeypatch, capsys, command, stage):
    started = []
    monkeypatch.setattr(flags.os, "execv", lambda program, words: started.append(words))
    command.main([*(STAGE1 if stage == 2 else []), "--epochs", "2", "--cfg", "job"])
    [words] = started
    assert words[:5] == [sys.executable, "-m", "partoken.cli", "train", f"experiment=axion_stage{stage}"]
    assert words[-3:] == ["train.epochs=2", "--cfg", "job"]
    assert capsys.readouterr().err.startswith(f"partoken train experiment=axion_stage{stage} ")


def test_the_command_runs_and_its_help_needs_no_torch(tmp_path):
    def run(*words):
        command = [sys.executable, "-X", "importtime", "-m", "partoken.satellite.train_stage1", *words]
        return subprocess.run(command, cwd=Path(partoken.__file__).parents[1], capture_output=True, text=True)

    shown = run("--help")
    assert shown.returncode == 0
    assert all(f"--{name}" in shown.stdout for name in FLAGS if name != "stage1_dir")
    assert " torch\n" not in shown.stderr and " omegaconf\n" not in shown.stderr
    cfg = run("--lr", "0.25", "--cfg", "job", "--package", "train")
    assert cfg.returncode == 0 and "lr: 0.25" in cfg.stdout
    mistake = run("--epochs", "0")
    assert mistake.returncode == 2
    assert mistake.stderr.endswith("error: --epochs=0: must be a whole number of 1 or more\n")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """A folder with few training tiles, and a tile each for validation and test."""
    root = tmp_path_factory.mktemp("tiles")
    splits = ["train"] * NUM_TRAIN_TILES + ["val", "test"]
    for number, split in enumerate(splits):
        write_tile(root / f"scene{number}.npz", made_bands(number), {"split": split})
    return root


def carried_out(stage, folder, *words):
    """Carries out the run that flags and overrides describe; returns its summary."""
    cfg = composed(stage, *SMALL[stage], *QUIET, *words)
    groups = OmegaConf.to_container(cfg, resolve=True)
    folder.mkdir()
    summary = carry_out(groups, folder)
    check_outcome(summary)
    return summary


@pytest.fixture(scope="module")
def stage1(tiles, tmp_path_factory):
    """The run folder of a stage 1."""
    folder = tmp_path_factory.mktemp("runs") / "stage1"
    carried_out(1, folder, "--data_dir", str(tiles), "--epochs", "1")
    return folder


def formula(step, warmup, total, lr, min_lr):
    """The document's formula."""
    if step < warmup:
        return lr * step / warmup
    progress = (step - warmup) / (total - warmup)
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


def scenario_flags(tmp_path, name, warmup_steps):
    epochs, batch, accumulate, _, lr, min_lr = SCENARIOS[name]
    words = {"epochs": epochs, "batch_size": batch, "grad_accum": accumulate, "lr": lr, "warmup_steps": warmup_steps}
    file = written(tmp_path, f"training: {{lr_scheduler: {{min_lr: {min_lr}}}}}\n")
    return [*(word for flag, value in words.items() for word in (f"--{flag}", str(value))), "--config", file]


@pytest.mark.parametrize(
    ("name", "total", "warmup"),
    [("Stage 2 (low VRAM)", 5000, 500), ("Stage 2 (high VRAM)", 5000, 500), ("Fine-tuning", 2500, 125)],
)
def test_a_scenario_has_the_total_and_the_warmup_of_the_document(tmp_path, name, total, warmup):
    cfg = composed(2, *STAGE1, *scenario_flags(tmp_path, name, warmup))
    settings = TrainSettings.read(OmegaConf.to_container(cfg.train, resolve=True))
    batches = math.ceil(TILES / cfg.train.batch_size)
    length = RunLength.count(
        epochs=cfg.train.epochs,
        max_steps=None,
        steps_per_epoch=math.ceil(batches / cfg.trainer.accumulate_grad_batches),
    )
    for optimizer in ("refiner", "discriminator"):
        plan = plan_run(settings.run_stages(optimizer), length)
        assert (plan.total_steps, plan.curve.warmup, plan.interval) == (total, warmup, "step")
        assert plan.rate(total) == pytest.approx(SCENARIOS[name][-1])


@pytest.mark.parametrize(
    ("name", "total", "warmup", "precision", "batches"),
    [
        pytest.param("Stage 2 (low VRAM)", 20, 2, "bf16-mixed", 8, id="low VRAM, bf16"),
        pytest.param("Stage 2 (low VRAM)", 20, 2, "16-mixed", 8, id="low VRAM, fp16", marks=ON_GPU),
        pytest.param("Stage 2 (high VRAM)", 20, 2, "32-true", 1, id="high VRAM"),
        pytest.param("Fine-tuning", 20, 1, "32-true", 4, id="fine-tuning"),
    ],
)
def test_a_shortened_scenario_runs_at_the_rates_of_the_formula(
    tmp_path, tiles, stage1, name, total, warmup, precision, batches
):
    *_, lr, min_lr = SCENARIOS[name]
    words = ["--data_dir", str(tiles), "--stage1_dir", str(stage1), *scenario_flags(tmp_path, name, warmup)]
    words += [f"trainer.precision={precision}", f"trainer.limit_train_batches={batches}"]
    words += ["trainer.gradient_clip_val=0.5", "trainer.check_val_every_n_epoch=10"]
    if precision == "16-mixed":
        words += ["trainer.accelerator=gpu"]
    summary = carried_out(2, tmp_path / "run", *words)
    plans = summary["schedule"]["optimizers"]
    assert all(plan["steps"] == plan["planned_steps"] == total for plan in plans.values())
    for optimizer, peak in (("refiner", lr), ("discriminator", 1e-4)):
        rows = [row for row in read_table(tmp_path / "run" / "lr.csv") if row["optimizer"] == optimizer]
        expected = [formula(step, warmup, total, peak, min_lr) for step in range(total)]
        for group in {row["group"] for row in rows}:
            applied = [float(row["lr"]) for row in rows if row["group"] == group]
            assert applied == pytest.approx(expected, rel=1e-9)
