"""The table of a sweep in a terminal."""

import pytest

from partoken.sweep.table import read_sweep
from partoken.sweep.terminal import format_sweep
from tests.sweep.made import write_sweep


def shown(folder, jobs, **more):
    return format_sweep(read_sweep(write_sweep(folder, jobs, **more)))


def jobs_of(values, keys=None):
    return [
        ({"train.lr": lr, "train.seed": seed, **(keys or {})}, {"best": values[i][seed], "test": {"accuracy": 0.5}})
        for i, lr in enumerate((0.1, 0.01))
        for seed in (0, 1)
    ]


def test_jobs_and_groups_are_shown_with_short_keys_and_the_best_marked(tmp_path):
    lines = shown(tmp_path, jobs_of([[0.25, 0.75], [0.5, 0.625]]))
    assert "4 jobs (4 finished), best by val_score (higher is better)" in " ".join(" ".join(lines[:2]).split())
    head = next(i for i, line in enumerate(lines) if line.split()[:1] == ["job"])
    assert lines[head].split()[:4] == ["job", "lr", "seed", "state"]
    assert lines[head + 1].split()[:6] == ["*", "1", "0.1", "1", "finished", "0.750"]
    assert lines[head + 4].split()[:5] == ["0", "0.1", "0", "finished", "0.250"]
    first_group = lines[next(i for i, line in enumerate(lines) if line.split()[:2] == ["lr", "runs"]) + 1]
    assert first_group.split() == ["*", "0.01", "2", "0.562", "±", "0.088", "0.500", "±", "0.000"]
    assert any("cannot" in line or "less than their spread" in line for line in lines)


def test_every_line_fits_into_100_columns_and_names_what_was_left_out(tmp_path):
    keys = {f"model.a_rather_long_setting_{i}": "x" * (10 + i) for i in range(3)}
    jobs = [
        ({"train.lr": i, **{key: f"{value}{i}" for key, value in keys.items()}}, {"best": 0.5, "test": tests})
        for i, tests in enumerate([dict.fromkeys(["accuracy", "macro_f1", "calibration_error", "loss"], 0.5)] * 3)
    ]
    lines = shown(tmp_path, jobs)
    assert max(map(len, lines)) <= 100
    [left_out] = [line for line in lines if line.startswith("too wide for the terminal, in the files only:")]
    assert "test_loss" in left_out


def test_control_characters_of_a_reason_do_not_reach_the_terminal(tmp_path):
    files = {"state": "failed", "reason": "\x1b[2Jcleared\nTraceback:\tend " + "word " * 60}
    lines = shown(tmp_path, [({"train.lr": 1}, files), ({"train.lr": 2}, {"best": 0.5})])
    assert any(line.startswith("job 0 failed: [2Jcleared Traceback: end word") for line in lines)
    assert all(line.isprintable() and len(line) <= 100 for line in lines)


def test_a_large_sweep_shows_its_best_jobs_and_says_how_many_there_are(tmp_path):
    lines = shown(tmp_path, [({"train.lr": i}, {"best": float(i)}) for i in range(60)])
    listed = [line for line in lines if " finished " in line]
    assert len(listed) == 20 and listed[0].split()[1] == "59"
    assert "and 40 more jobs, in sweep.csv" in lines


def test_a_group_with_a_diverged_job_says_so(tmp_path):
    jobs = jobs_of([[0.25, 0.75], [0.5, 0.625]])
    jobs[3] = (jobs[3][0], {"state": "diverged", "reason": "train_loss is not a finite number"})
    lines = shown(tmp_path, jobs)
    assert "count as worst" in " ".join(lines[:3])
    assert any(line.endswith("1 diverged") for line in lines)
    assert not any("nan" in line for line in lines if "train_loss" not in line)


@pytest.mark.parametrize("state", ["waiting", "failed"])
def test_a_sweep_without_any_result_is_shown(state, tmp_path):
    files = None if state == "waiting" else {"state": state, "reason": "x"}
    lines = shown(tmp_path, [({"train.lr": 1, "train.seed": s}, files) for s in (1, 2)])
    assert f"2 jobs (2 {state})" in lines[0] and not any(line.startswith("*") for line in lines)


def test_keys_that_follow_another_key_are_named(tmp_path):
    jobs = [({"train.epochs": n, "data.passes": n}, {"best": 0.5}) for n in (1, 2)]
    folder = write_sweep(tmp_path, jobs)
    text = (folder / "sweep.json").read_text()
    (folder / "sweep.json").write_text(text.replace(', "data.passes=1"', "").replace(', "data.passes=2"', ""))
    lines = format_sweep(read_sweep(folder))
    assert lines[-1] == "not shown, because they change together with another key: data.passes with train.epochs"
