"""The main job from the command line, on a few of the embedded chains and with a small model."""

import csv
import json
import math
import os
import subprocess
import sys
import time

import pytest

from tests.commands import IN_CLONE, ROOT, TRAIN

SMALL = [
    "data.limit=24",
    "train.batch_size=4",
    "train.epochs=3",
    "train.warmup_epochs=1",
    "model=published",
    "model.node_h_dim=[16,4]",
    "model.num_layers=1",
    "model.num_neighbors=8",
    "model.max_clusters=4",
    "model.codebook_size=16",
]


def command(*arguments):
    return [
        *TRAIN,
        *(a for a in arguments if a == "-m"),
        *SMALL,
        *(a for a in arguments if a != "-m"),
    ]


def run(*arguments, code=0, **variables):
    environment = {**os.environ, **variables}
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def cosine(tmp_path_factory):
    """A run of the default trainer, which finds no GPU (fault 9)."""
    folder = tmp_path_factory.mktemp("cosine")
    options = ["train.use_cosine_schedule=true", "train.lr=7e-4"]
    return folder, run(f"hydra.run.dir={folder}", *options, CUDA_VISIBLE_DEVICES="")


def test_the_run_folder_is_complete(cosine):
    folder, said = cosine
    for name in (
        ".hydra/config.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "data_report.json",
        "lr.csv",
        "metrics.csv",
        "plots/confusion_matrix.png",
        "plots/learning_rate.png",
        "plots/losses.png",
        "run.log",
        "skipped.csv",
        "summary.json",
    ):
        assert (folder / name).stat().st_size > 0, name
    lines = said.strip().splitlines()
    assert str(folder) in lines[0]
    assert str(folder) in lines[-1]


@pytest.mark.skipif(not IN_CLONE, reason="the smoke test is part of a clone")
@pytest.mark.parametrize("status", [0, 1])
def test_fault_10_the_smoke_test_is_red_when_the_runs_do_nothing(tmp_path, status):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = run_partoken.py ] && exit {status}\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", "test_cosine_scheduler.sh"],
        cwd=ROOT,
        env={**os.environ, "PYTHON": str(python)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "FAILED" in done.stderr


def test_the_summary_has_the_scores_beside_the_majority_answer(cosine):
    folder, said = cosine
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["test"]) == {"accuracy", "balanced_accuracy", "macro_f1", "loss"}
    assert set(summary["codebook"]) == {"used_codes", "perplexity", "dead_codes"}
    assert set(summary["partition"]) == {"coverage", "mean_size", "mean_count"}
    assert summary["codebook"]["used_codes"] + summary["codebook"]["dead_codes"] == 16
    confusion = summary["confusion_matrix"]
    right, chains = sum(confusion[i][i] for i in range(3)), sum(map(sum, confusion))
    assert summary["test"]["accuracy"] == pytest.approx(right / chains)
    train = summary["class_counts"]["train"]
    often = train.index(max(train))
    assert summary["majority_accuracy"] == pytest.approx(sum(confusion[often]) / chains)
    for key in ("num_parameters", "residues_per_second", "seconds", "best_epoch", "seed", "versions"):
        assert key in summary
    assert os.path.exists(summary["best_checkpoint"])
    assert f"{summary['majority_accuracy']:.3f}" in said
    assert f"{summary['test']['accuracy']:.3f}" in said


def test_the_summary_has_regressions_on_the_same_chains(cosine, tmp_path):
    folder, said = cosine
    summary = json.loads((folder / "summary.json").read_text())
    often, *regressions = summary["baselines"]
    assert often.startswith("always ") and regressions == ["regression", "regression + fold"]
    assert all(name in said for name in regressions)
    tested = run(f"hydra.run.dir={tmp_path}", "train=false", f"train.resume_from={folder}/checkpoints/best.ckpt")
    again = json.loads((tmp_path / "summary.json").read_text())
    assert again["baselines"] == summary["baselines"] and "regression + fold" in tested
    assert again["tables"]["family"] == summary["tables"]["family"] and "unseen: accuracy" in tested


def test_the_applied_rates_follow_the_formula(cosine):
    folder, _ = cosine
    table = rows(folder / "lr.csv")
    assert {r["group"] for r in table} == {"0", "1"}
    for row in table:
        epoch = int(row["epoch"])
        factor = 1e-6 if epoch == 0 else 0.5 * (1 + math.cos(math.pi * (epoch - 1) / 2))
        assert float(row["lr"]) == pytest.approx(7e-4 * factor, rel=1e-12)


def test_a_sweep_gives_each_job_a_folder_and_reports_the_job_that_failed(tmp_path):
    said = run("-m", "train.lr=1e-3,-1", "train.epochs=1", f"hydra.sweep.dir={tmp_path}", code=2)
    assert "job 1 failed: train.lr=-1: must be a number above 0" in said
    assert "Traceback" not in said
    assert (tmp_path / "0" / "summary.json").exists()
    assert not (tmp_path / "1" / "summary.json").exists()
    status = json.loads((tmp_path / "1" / "status.json").read_text())
    assert status["status"] == "failed"
    assert status["reason"].startswith("train.lr=-1")


def test_two_jobs_that_start_in_the_same_second_have_two_folders():
    started = time.time()
    names = set()
    while len(names) < 5 and time.time() - started < 60:
        shown = subprocess.run(
            [*TRAIN, "--cfg", "hydra", "--resolve"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        ).stdout
        names.add(next(line.strip() for line in shown.splitlines() if "dir: outputs/" in line))
    assert len({name.rsplit("-", 1)[1] for name in names}) == 5


def test_a_user_error_ends_in_one_message():
    said = run("hydra.run.dir=pyproject.toml/inside", code=2)
    assert "pyproject.toml" in said
    assert "Traceback" not in said
