"""A search asks for its jobs one after another, loses none by a kill, and stops hopeless ones."""

import functools
import json
import math
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from partoken.errors import UserError
from partoken.sweep.expand import Job, Sweep, expand
from partoken.sweep.record import read_jobs
from partoken.sweep.search import Search
from partoken.system.run_status import RunStatus, read_status, write_status
from tests.sweep.fake import write_epochs, write_summary

pytest.importorskip("optuna", reason="pip install 'partoken[sweep]'")
pytestmark = pytest.mark.usefixtures("impatient_database", "quick_jobs")

WORDS = ["-m", "sweep=search", "sweep.metric=val_loss", "sweep.direction=min", "train.warmup_epochs=1"]
WORDS += ["train.weight_decay=0", "sweep.startup_trials=2", "sweep.prune_after_epochs=1"]


@pytest.fixture
def quick_jobs(monkeypatch):
    """Jobs are not composed by Hydra, which takes a tenth of a second for each."""
    compose = Sweep.job

    def job(sweep, words):
        if not sweep.fixed:
            return compose(sweep, words)
        own = {key.removeprefix("train."): float(value) for key, _, value in (word.partition("=") for word in words)}
        return Job([*sweep.common, *words], {**sweep.fixed, "train": {**sweep.fixed["train"], **own}})

    monkeypatch.setattr(Sweep, "job", job)


expanded = functools.cache(lambda *words: expand([*WORDS, *words]))


def ask_for(folder, *words, trials=20):
    sweep = expanded(*words)
    return Search(replace(sweep, folder=folder, search=replace(sweep.search, trials=trials)))


def end(search, job, losses, status="finished"):
    """Leaves what a run leaves, and tells the search."""
    leave(job, losses, status)
    search.ended(job, read_status(job.folder))


def leave(job, losses, status="finished"):
    write_epochs(job.folder, losses)
    if status not in ("interrupted", "failed"):
        write_summary(job.folder, status, len(losses) - 1)
    write_status(job.folder, RunStatus(status=status, reason="a reason"))


def run_all(search, loss=1.0):
    """Finishes every job that the search still has, and returns their numbers."""
    numbers = []
    while (job := search.next()) is not None:
        numbers.append(job.number)
        end(search, job, [loss + job.number])
    return numbers


def test_a_search_started_again_keeps_its_numbers_and_its_total(tmp_path):
    search = ask_for(tmp_path, trials=3)
    assert len(search) == 3
    job = search.next()
    assert (job.number, job.folder) == (0, tmp_path / "0")
    end(search, job, [1.0, 0.5])
    again = ask_for(tmp_path, trials=3)
    assert len(again) == 2
    assert run_all(again) == [1, 2]
    assert run_all(ask_for(tmp_path, trials=3)) == []
    assert run_all(ask_for(tmp_path, trials=4)) == [3], "more may be asked for"
    assert len({job.config["train"]["lr"] for job in read_jobs(tmp_path)}) == 4
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert (content["search"]["trials"], content["metric"], content["direction"]) == (4, "val_loss", "min")
    assert content["search"]["space"] == {"train.lr": {"low": 1e-4, "high": 1e-2, "is_log": True}}


@pytest.mark.parametrize("moment", ["asked", "recorded", "running", "finished"])
def test_a_kill_at_any_moment_loses_nothing(moment, tmp_path, monkeypatch):
    search = ask_for(tmp_path, trials=2)
    killed = pytest.MonkeyPatch()
    if moment == "asked":
        killed.setattr(search, "_add", stop)
    elif moment == "recorded":
        killed.setattr(search, "_take", stop)
    if moment in ("asked", "recorded"):
        with pytest.raises(InterruptedError):
            search.next()
    else:
        job = search.next()
        leave(job, [2.0, 1.5], status="interrupted" if moment == "running" else "finished")
        search._claims.release(job)  # as the system does for a killed process
    before = read_jobs(tmp_path)
    again = ask_for(tmp_path, trials=2)
    assert len(again) == 2
    assert run_all(again) == ([1] if moment == "finished" else [0, 1])
    assert read_jobs(tmp_path)[: len(before)] == before, "the job has the values that it had"
    assert again._trials.values() == {0: 1.5 if moment == "finished" else 1.0, 1: 2.0}


def stop(*arguments):
    raise InterruptedError


def test_a_job_that_another_process_runs_is_left_to_it_until_it_is_killed(tmp_path):
    search = ask_for(tmp_path, trials=1)
    search._claims.release(search.next())
    hold = "import sys, time; from partoken.system.locks import process_lock\n"
    hold += "with process_lock(sys.argv[1]): print(flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "0/.claim")], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        assert ask_for(tmp_path, trials=1).next() is None
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert run_all(ask_for(tmp_path, trials=1)) == [0]


def test_a_hopeless_job_is_asked_to_stop_unless_its_last_epoch_runs(tmp_path):
    search = ask_for(tmp_path, "train.epochs=4")
    for _ in range(3):
        end(search, search.next(), [1.0, 0.9, 0.8, 0.7])
    good, bad, late = (search.next() for _ in range(3))
    for job, losses in ((good, [0.9]), (bad, [2.0]), (late, [0.9])):
        write_epochs(job.folder, losses)
        search.watch(job)
    assert [(job.folder / "stop").exists() for job in (good, bad, late)] == [False, True, False]
    assert json.loads((bad.folder / "stop").read_text()) == {
        "status": "pruned",
        "reason": "up to epoch 1 its val_loss is worse than the median of the finished jobs",
    }
    write_epochs(late.folder, [0.9, 0.9, 2.0])
    search.watch(late)
    assert not (late.folder / "stop").exists()
    end(search, bad, [2.0, 1.9], status="pruned")
    assert search._trials.unfinished() == [good.number, late.number]
    assert bad.number not in search._trials.values()


def test_jobs_that_fail_diverge_or_have_no_number_do_not_end_the_search(tmp_path):
    search = ask_for(tmp_path, trials=5)
    end(search, search.next(), [], status="failed")
    end(search, search.next(), [1.0], status="diverged")
    end(search, search.next(), [math.nan, math.nan])
    assert search._trials.values() == {}
    assert search._trials.unfinished() == []
    end(search, search.next(), [0.5])
    end(search, search.next(), [0.25])
    assert search._trials.values() == {3: 0.5, 4: 0.25}
    assert search.next() is None


def test_a_job_that_was_interrupted_here_waits_for_the_next_start(tmp_path):
    search = ask_for(tmp_path, trials=1)
    job = search.next()
    end(search, job, [1.0], status="interrupted")
    assert search.next() is None
    assert ask_for(tmp_path, trials=1).next() == job


def test_values_that_were_tried_are_not_trained_again(tmp_path):
    search = ask_for(tmp_path, "train.lr=0.1,0.2", trials=6)
    assert len(run_all(search)) == 2
    assert len(search) == 0
    assert {job.config["train"]["lr"] for job in read_jobs(tmp_path)} == {0.1, 0.2}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.lr=interval(1,2)"], r"the values of train\.lr were .* and are .*'low': 1\.0"),
        (["train.batch_size=5"], r"train\.batch_size was 8 and is 5"),
        (["train.lr=1e-3", "train.weight_decay=interval(0,1)"], r"the values of train\.lr were .* and are None"),
        (["sweep.metric=val_accuracy", "sweep.direction=max"], r"sweep\.metric was val_loss and is val_accuracy"),
    ],
    ids=["values", "fixed key", "other key", "metric"],
)
def test_another_search_in_the_folder_is_refused(words, message, tmp_path):
    ask_for(tmp_path).next()
    with pytest.raises(UserError, match=f"holds another search: .*{message}"):
        ask_for(tmp_path, *words)


def test_a_search_without_its_database_is_refused(tmp_path):
    ask_for(tmp_path).next()
    (tmp_path / "search.db").unlink()
    with pytest.raises(UserError, match=r"search\.db is missing, though the search has jobs"):
        ask_for(tmp_path)


RUNNER = """
import sys
from partoken.sweep import local, runner
from tests.sweep.fake import epochs
local.PRELOADED = []  # without torch it starts sooner
runner.check_jobs = lambda sweep: sweep
sys.exit(runner.run_sweep(sys.argv[1:], epochs))
"""


def test_several_processes_share_a_search_and_one_that_is_killed_loses_nothing(tmp_path):
    words = [*WORDS, "sweep.trials=6", "train.epochs=6", f"hydra.sweep.dir={tmp_path}"]

    def start():
        return subprocess.Popen([sys.executable, "-c", RUNNER, *words], stdout=subprocess.PIPE, text=True)

    one, two = start(), start()
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("*/metrics.csv"))) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    one.kill()
    assert one.wait() == -9
    two.communicate(timeout=120)
    one.stdout.close()
    assert two.returncode == 0
    states = [read_status(job.folder).status for job in read_jobs(tmp_path)]
    assert len(states) == 6
    assert set(states) <= {"finished", "pruned"}
    started = (tmp_path / "log.txt").read_text().split()
    assert set(started) == set("012345")
    assert len(started) <= 7, "only the killed job has run twice"
