"""The table of a sweep: ranks, groups over seeds, the verdict, and the CSV files."""

import itertools
import math
import re
import statistics

import numpy as np
import pytest

from partoken.sweep.table import read_sweep, write_tables
from tests.sweep.made import read_csv, write_sweep

RATES, SEEDS = (0.1, 0.01, 0.001), (1, 2, 3)


def score(lr, seed):
    return 0.5 - 0.1 * abs(math.log10(lr) + 2) + 0.01 * seed


def grid(*, change=None, direction="max"):
    """Returns jobs over rates and seeds; `change` has other files for single jobs, by rate and seed."""
    sign = 1 if direction == "max" else -1
    jobs = []
    for lr, seed in itertools.product(RATES, SEEDS):
        value = sign * score(lr, seed)
        files = {"best": value, "test": {"accuracy": value / 2, "loss": 1 - value}}
        jobs.append(({"train.lr": lr, "train.seed": seed}, (change or {}).get((lr, seed), files)))
    return jobs


def test_jobs_are_ranked_by_the_metric_and_the_best_is_marked(tmp_path):
    table = read_sweep(write_sweep(tmp_path, grid()))
    ordered = sorted(itertools.product(RATES, SEEDS), key=lambda pair: -score(*pair))
    ranked = [(table.keys.values[i]["train.lr"], table.keys.values[i]["train.seed"]) for i in table.ranking]
    assert ranked[0] == (0.01, 3) == ordered[0] and table.best_job == table.ranking[0]
    assert [score(*pair) for pair in ranked] == [score(*pair) for pair in ordered]


def test_a_lower_value_is_better_if_the_direction_is_min(tmp_path):
    table = read_sweep(write_sweep(tmp_path, grid(direction="min"), direction="min"))
    assert table.keys.values[table.best_job] == {"train.lr": 0.01, "train.seed": 3}
    assert table.groups[0].values == {"train.lr": 0.01}


def test_groups_have_mean_and_deviation_over_seeds_best_first(tmp_path):
    table = read_sweep(write_sweep(tmp_path, grid()))
    assert [group.values["train.lr"] for group in table.groups] == [0.01, 0.1, 0.001]
    for group in table.groups:
        values = np.array([score(group.values["train.lr"], seed) for seed in SEEDS])
        own = group.statistics["val_score"]
        assert (own.mean, own.deviation) == pytest.approx((values.mean(), values.std(ddof=1)))
        assert own.runs == 3
        assert group.statistics["test_accuracy"].mean == pytest.approx(values.mean() / 2)
        assert group.statistics["test_loss"].deviation == pytest.approx(values.std(ddof=1))


@pytest.mark.parametrize("state", ["diverged", "failed"])
def test_a_diverged_or_failed_job_is_below_all_others_and_in_no_mean(state, tmp_path):
    lost = {"state": state, "reason": "the loss is not a finite number", "best": 0.99, "test": {"accuracy": None}}
    table = read_sweep(write_sweep(tmp_path, grid(change={(0.01, 3): lost})))
    assert table.jobs[table.ranking[-1]].state == state
    assert table.best_group.values == {"train.lr": 0.1}, "a group with such a member is not the best"
    last = table.groups[-1]
    assert (last.values, last.remark) == ({"train.lr": 0.01}, f"1 {state}")
    kept = [score(0.01, seed) for seed in (1, 2)]
    assert last.statistics["val_score"].mean == pytest.approx(statistics.fmean(kept))
    assert last.statistics["test_accuracy"].runs == 2


def test_pruned_running_and_waiting_jobs_are_in_no_mean_and_never_the_best(tmp_path):
    change = {
        (0.01, 3): {"state": "pruned", "best": 9.0},
        (0.01, 2): {"state": "running", "curve": [9.0]},
        (0.01, 1): None,
        (0.1, 1): {"state": "failed", "reason": "x"},
    }
    table = read_sweep(write_sweep(tmp_path, grid(change=change)))
    states = [table.jobs[i].state for i in table.ranking]
    assert states == ["finished"] * 5 + ["pruned", "interrupted", "waiting", "failed"]
    assert table.values[table.ranking[5]] == table.values[table.ranking[6]] == 9.0
    assert [group.values["train.lr"] for group in table.groups] == [0.001, 0.01, 0.1]
    assert table.groups[1].statistics == {}
    assert table.groups[1].remark == "1 waiting, 1 interrupted, 1 pruned"


def test_a_finished_job_without_a_value_is_behind_those_with_one(tmp_path):
    empty = {"best": None, "test": {"accuracy": 0.9}}
    table = read_sweep(write_sweep(tmp_path, grid(change={(0.01, 3): empty})))
    assert table.values[table.ranking[-1]] is None
    assert table.groups[0].statistics["val_score"].runs == 2
    assert not any(math.isnan(item.mean) for group in table.groups for item in group.statistics.values())


def test_a_sweep_in_which_every_job_failed_has_no_best(tmp_path):
    lost = {"state": "failed", "reason": "x"}
    table = read_sweep(write_sweep(tmp_path, grid(change=dict.fromkeys(itertools.product(RATES, SEEDS), lost))))
    assert (table.best_job, table.best_group, table.verdict) == (None, None, "")
    write_tables(table)


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ([0.1, 0.2, 0.3], "differ by 0.5; their spread over seeds is 0.1. With the same seed, .* in 3 of 3 pairs"),
        ([0.5, 0.6, 0.9], r"differ by 0.0333, less than their spread over seeds \(0.163\). .* in 2 of 3 pairs"),
    ],
    ids=["far apart", "close"],
)
def test_the_verdict_compares_the_difference_of_the_best_groups_with_their_spread(second, sentence, tmp_path):
    first = [0.6, 0.7, 0.8]
    jobs = [
        ({"train.lr": lr, "train.seed": seed}, {"best": value})
        for lr, values in ((1, first), (2, second))
        for seed, value in enumerate(values)
    ]
    verdict = read_sweep(write_sweep(tmp_path, jobs)).verdict
    spread = np.sqrt((np.var(first, ddof=1) + np.var(second, ddof=1)) / 2)
    assert f"{spread:.3g}" in verdict
    assert re.search(sentence, verdict), verdict


def test_the_verdict_says_that_a_single_run_has_no_spread(tmp_path):
    jobs = [({"train.lr": lr, "train.seed": 1}, {"best": lr}) for lr in (0.1, 0.2)]
    assert "a single run, so its spread is unknown" in read_sweep(write_sweep(tmp_path, jobs)).verdict


def test_jobs_without_a_configuration_are_not_grouped_together(tmp_path):
    for number in (0, 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "status.json").write_text('{"status": "failed", "reason": "killed at the start"}')
    assert len(read_sweep(tmp_path).groups) == 2


def test_the_csv_files_have_the_columns_and_values_of_the_jobs(tmp_path):
    change = {(0.1, 1): {"state": "failed", "reason": 'no such file: "a,b"\nsecond line'}}
    table = read_sweep(write_sweep(tmp_path, grid(change=change), base={"trainer.max_epochs": 3}))
    jobs, groups = map(read_csv, write_tables(table))
    expected = "job state train.lr train.seed val_score best_epoch test_accuracy test_loss seconds folder reason"
    assert list(jobs[0]) == expected.split()
    assert jobs[0]["reason"] == 'no such file: "a,b"\nsecond line' and jobs[0]["val_score"] == ""
    assert float(jobs[4]["val_score"]) == score(0.01, 2) and jobs[4]["folder"] == "4"
    assert [row["job"] for row in jobs] == [str(number) for number in range(9)]
    assert (jobs[4]["best_epoch"], jobs[4]["seconds"]) == ("1", "12.5")

    assert [row["train.lr"] for row in groups] == ["0.01", "0.001", "0.1"]
    assert [(row["rank"], row["finished"], row["failed"]) for row in groups][2] == ("3", "2", "1")
    assert float(groups[0]["val_score_mean"]) == pytest.approx(statistics.fmean(score(0.01, s) for s in SEEDS))
    assert float(groups[0]["val_score_std"]) == pytest.approx(statistics.stdev(score(0.01, s) for s in SEEDS))
    assert (groups[2]["val_score_runs"], groups[0]["numbers"]) == ("2", "3 4 5")


def test_a_test_metric_that_is_the_metric_of_the_sweep_has_one_column(tmp_path):
    table = read_sweep(write_sweep(tmp_path, grid(), metric="test_accuracy"))
    jobs = read_csv(write_tables(table)[0])
    assert list(jobs[0]).count("test_accuracy") == 1 and table.tests == ["test_loss"]
    assert float(jobs[0]["test_accuracy"]) == score(0.1, 1)


def test_keys_that_follow_others_are_in_the_csv_file_too(tmp_path):
    jobs = [({"train.epochs": n, "trainer.max_epochs": n}, {"best": n / 10}) for n in (1, 2)]
    write_sweep(tmp_path, jobs)
    assert read_csv(write_tables(read_sweep(tmp_path))[0])[1]["trainer.max_epochs"] == "2"


def test_the_tables_are_the_same_if_they_are_written_again(tmp_path):
    write_sweep(tmp_path, grid())
    before = [path.read_bytes() for path in write_tables(read_sweep(tmp_path))]
    assert [path.read_bytes() for path in write_tables(read_sweep(tmp_path))] == before
    assert not list(tmp_path.glob(".*"))
