"""A sweep that is started again keeps its jobs, their numbers and their folders."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from partoken.errors import UserError
from partoken.sweep.expand import Job, Sweep
from partoken.sweep.record import read_jobs, reconcile


def sweep(folder, *rates, threads=None, **train):
    jobs = [Job([f"train.lr={lr}"], {"train": {"lr": lr, **train}}) for lr in rates]
    return Sweep(Path(folder), jobs, [], "val_loss", "min", False, threads, 1, {})


def numbers(record):
    return {job.config["train"]["lr"]: (job.number, job.folder.name) for job in record.jobs}


def test_jobs_keep_their_numbers_in_whatever_order_they_are_asked_for(tmp_path):
    first = reconcile(sweep(tmp_path, 0.1, 0.2, 0.3))
    assert numbers(first) == {0.1: (0, "0"), 0.2: (1, "1"), 0.3: (2, "2")}
    assert numbers(reconcile(sweep(tmp_path, 0.3, 0.1, 0.2))) == numbers(first)


def test_added_jobs_come_after_the_known_ones(tmp_path):
    reconcile(sweep(tmp_path, 0.1, 0.3))
    assert numbers(reconcile(sweep(tmp_path, 0.1, 0.2, 0.3))) == {0.1: (0, "0"), 0.3: (1, "1"), 0.2: (2, "2")}
    assert [job.number for job in read_jobs(tmp_path)] == [0, 1, 2]


def test_a_changed_configuration_is_refused_with_what_differs(tmp_path):
    reconcile(sweep(tmp_path, 0.1, 0.2, epochs=3))
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(UserError, match=r"job 0 \(train.lr=0.1\).*: train\.epochs was 3 and is 4; ask for all jobs"):
        reconcile(sweep(tmp_path, 0.1, 0.2, epochs=4))
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_a_job_that_is_missing_is_refused(tmp_path):
    reconcile(sweep(tmp_path, 0.1, 0.2))
    with pytest.raises(UserError, match=r"job 1 \(train.lr=0.2\) was part of this sweep and is not now"):
        reconcile(sweep(tmp_path, 0.1))


def test_a_job_that_cannot_run_is_kept_by_its_overrides(tmp_path):
    asked = sweep(tmp_path, 0.1)
    asked = replace(asked, jobs=[*asked.jobs, Job(["train.lr=-1"], error="too low")])
    for _ in range(2):
        record = reconcile(asked)
        assert [(job.number, job.error) for job in record.jobs] == [(0, None), (1, "too low")]


def test_threads_stay_as_they_were_because_results_depend_on_them(tmp_path):
    assert reconcile(sweep(tmp_path, 0.1, threads=3)).threads == 3
    assert reconcile(sweep(tmp_path, 0.1)).threads == 3
    with pytest.raises(UserError, match=r"sweep\.threads=1: the jobs in .* have 3 threads"):
        reconcile(sweep(tmp_path, 0.1, threads=1))


def test_a_folder_with_other_runs_is_refused(tmp_path):
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    with pytest.raises(UserError, match="holds a run that is not of this sweep"):
        reconcile(sweep(tmp_path, 0.1))


@pytest.mark.parametrize("content", ["{", json.dumps({"version": 99, "jobs": []})], ids=["damaged", "version"])
def test_a_record_that_cannot_be_used_is_refused(content, tmp_path):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=r"sweep\.json"):
        reconcile(sweep(tmp_path, 0.1))
