"""The runner carries out the jobs that are missing, each in a process of its own, and says what became of them."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from partoken.sweep import runner
from partoken.sweep.record import read_jobs
from partoken.sweep.runner import run_sweep
from partoken.system.run_status import RunStatus, read_status, write_status
from tests.sweep.fake import command


def run(folder, *words):
    return run_sweep(["-m", *words, f"hydra.sweep.dir={folder}"], command)


def states(folder):
    return [read_status(job.folder).status for job in read_jobs(folder)]


def started(folder):
    """Returns the numbers of the jobs that were started, in order."""
    lines = (folder / "log.txt").read_text().splitlines()
    return [int(re.search(r"hydra\.job\.num=(\d+)", line).group(1)) for line in lines]


def test_every_job_runs_once_in_a_folder_of_its_own_and_not_again(tmp_path, capfd):
    assert run(tmp_path, "train.lr=0.1,0.2", "train.seed=1,2") == 0
    assert states(tmp_path) == ["finished"] * 4
    assert started(tmp_path) == [0, 1, 2, 3]
    assert run(tmp_path, "train.seed=2,1", "train.lr=0.1,0.2,0.3") == 0
    assert started(tmp_path) == [0, 1, 2, 3, 4, 5], "only the added jobs ran"
    assert "6 jobs, 2 to run" in capfd.readouterr().out


def test_a_job_that_fails_is_recorded_with_its_reason_and_the_others_run(tmp_path, capfd):
    assert run(tmp_path, "train.lr=0.1,0.5,-1,0.6,0.2") == 2
    assert states(tmp_path) == ["finished", "diverged", "failed", "failed", "finished"]
    assert started(tmp_path) == [0, 1, 3, 4], "job 2 cannot run"
    said = capfd.readouterr().out
    assert "job 1 diverged: the loss is not finite" in said
    assert "job 2 failed: train.lr=-1: must be a number above 0" in said
    assert "3 of 5 jobs have not finished" in said


def test_the_table_is_shown_when_the_jobs_have_ended_even_if_one_failed(tmp_path):
    shown = []
    words = ["-m", "train.lr=0.1,0.5", f"hydra.sweep.dir={tmp_path}"]
    assert run_sweep(words, command, lambda folder: shown.append((folder, states(folder)))) == 2
    assert shown == [(tmp_path, ["finished", "diverged"])]


def test_failed_jobs_run_again_only_if_asked(tmp_path):
    assert run(tmp_path, "train.lr=0.1,0.5") == 2
    assert run(tmp_path, "train.lr=0.1,0.5") == 2
    assert started(tmp_path) == [0, 1]
    assert run(tmp_path, "train.lr=0.1,0.5", "sweep.retry_failed=true") == 2
    assert started(tmp_path) == [0, 1, 1]


def test_a_job_that_is_killed_is_interrupted_and_is_run_by_the_next_start(tmp_path, capfd):
    assert run(tmp_path, "train.lr=0.7,0.1") == 2
    assert states(tmp_path) == ["interrupted", "finished"]
    assert "job 0 interrupted: killed by SIGKILL" in capfd.readouterr().out
    assert run(tmp_path, "train.lr=0.7,0.1") == 2
    assert started(tmp_path) == [0, 1, 0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.lr=-1,-2"], r"train\.lr=-1"),
        (["train.use_cosine_schedule=true", "train.warmup_epochs=50", "train.seed=1,2"], r"train\.warmup_epochs=50"),
        (["sweep.metric=val_acuracy", "sweep.direction=max", "train.seed=1,2"], r"sweep\.metric=val_acuracy.*accuracy"),
        (["logger=tensorboard", "logger.tensorboard.nme=x", "train.seed=1,2"], r"logger\.tensorboard"),
        (["+logger.mine._target_=torch.nn.Linear", "train.seed=1,2"], r"logger\.mine"),
        (["train.monitor=val_los", "train.monitor_mode=min", "train.seed=1,2"], r"val_los: no such metric"),
    ],
    ids=["value", "schedule", "metric", "key of a logger", "logger", "monitor"],
)
def test_a_mistake_of_all_jobs_is_refused_before_anything_is_written(words, message, tmp_path, capfd):
    folder = tmp_path / "sweep"
    assert run(folder, *words) == 2
    assert re.search(message, capfd.readouterr().err)
    assert not folder.exists()


def test_a_schedule_that_is_impossible_for_some_jobs_fails_these_before_the_first_job_runs(tmp_path):
    words = ["train.use_cosine_schedule=true", "train.warmup_epochs=1,50"]
    assert run(tmp_path, *words) == 2
    assert states(tmp_path) == ["finished", "failed"]
    assert started(tmp_path) == [0]


def test_a_job_that_another_process_has_finished_meanwhile_is_not_run_again(tmp_path, monkeypatch, capfd):
    def finish(sweep, record, *_):
        record.jobs[1].folder.mkdir()
        write_status(record.jobs[1].folder, RunStatus(status="finished"))

    monkeypatch.setattr(runner, "_say_what_runs", finish)
    assert run(tmp_path, "train.lr=0.1,0.2") == 0
    assert started(tmp_path) == [0]
    assert "job 1 is finished in another process" in capfd.readouterr().out


WHOLE = """
import signal, sys
from partoken.sweep import local, runner
from tests.sweep.fake import command

def start_the_server(sweep):
    process = local.job_server().Process(target=print)
    process.start()
    process.join()
    return sweep

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in a background job
local.PRELOADED = []  # without torch it starts sooner
runner.check_jobs = lambda sweep: sweep
sys.exit(runner.run_sweep(sys.argv[1:], command))
"""


def test_the_jobs_have_the_threads_that_the_sweep_names(tmp_path):
    words = ["-m", "launcher=local", "n_jobs=1", "sweep.threads=null", "train.seed=1,2", f"hydra.sweep.dir={tmp_path}"]
    code = WHOLE.replace("lambda sweep: sweep", "start_the_server")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    cores = len(os.sched_getaffinity(0))
    assert f"1 at a time with {cores} thread" in done.stdout
    assert [(tmp_path / name / "threads.txt").read_text() for name in "01"] == [str(cores)] * 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_the_jobs_end_with_the_sweep_and_go_on_when_it_is_started_again(number, code, tmp_path):
    words = ["-m", "launcher=local", "train.lr=0.8", "train.seed=1,2", f"hydra.sweep.dir={tmp_path}"]
    sweep = subprocess.Popen([sys.executable, "-c", WHOLE, *words], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while len(list(tmp_path.glob("*/checkpoints/last.ckpt"))) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        jobs = [read_status(tmp_path / name).pid for name in ("0", "1")]
        sweep.send_signal(number)
        assert sweep.wait(60) == code
    finally:
        sweep.kill()
        sweep.wait()
    until = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in jobs) and time.monotonic() < until:
        time.sleep(0.1)
    assert states(tmp_path) == ["interrupted", "interrupted"]
    assert run(tmp_path, *words[1:-1]) == 0
    last = (tmp_path / "log.txt").read_text().splitlines()[-2:]
    assert all(f"train.resume_from='{tmp_path}/{name}/checkpoints/last.ckpt'" in " ".join(last) for name in ("0", "1"))
