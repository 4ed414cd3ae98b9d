"""The lines about the cost of a run and of a sweep."""

import datetime

from partoken.errors import UserError
from partoken.training.probes.cost import Measurement, estimate
from partoken.training.probes.cost_report import run_lines, sweep_lines
from partoken.training.probes.stopwatch import StageTimes
from tests.training.runs import settings

MORNING = datetime.datetime(2026, 3, 1, 9, 30)
STAGE = StageTimes("", 7, 1, 7, first_window=(1, 5.0), windows=[(1, 60.0)] * 3)
MEASURED = Measurement(20.0, 90.0, [STAGE], 1_300_000_000, None)


def test_the_lines_of_a_run_say_steps_time_memory_and_end():
    given = settings(epochs=10, early_stopping_patience=3, num_workers=2)
    text = "\n".join(run_lines(given, estimate(given, MEASURED), MORNING))
    assert "measured 4 optimizer steps in 1 min 30 s; nothing was kept" in text
    assert "        10        70  1 min 00 s    7 min 00 s" in text  # epochs, steps, a step, an epoch
    assert "1.3 GB" in text and "GPU" not in text
    assert "1 h 10 min (1 h 03 min to 1 h 17 min)" in text
    assert "10:40 if it starts now" in text
    assert "train.early_stopping_patience=3 may end it sooner" in text
    assert "without the memory of the 2 processes that load batches" in text


def test_the_end_on_another_day_has_its_date():
    given = settings(epochs=200)
    text = "\n".join(run_lines(given, estimate(given, MEASURED), MORNING))
    assert "2026-03-02 08:50 if it starts now" in text


def test_a_sweep_measures_jobs_of_the_same_cost_once_and_adds_up():
    jobs = {
        "0: train.lr=0.1": settings(epochs=2, lr=0.1),
        "1: train.lr=0.2": settings(epochs=3, lr=0.2),
        "2: train.batch_size=4": settings(epochs=2, batch_size=4),
        "3: data.size=3": settings(data={"size": 3}),
    }
    measured = []

    def measure(given, present):
        measured.append(given)
        if given["data"].get("size"):
            raise UserError("data.size=3: too few points")
        return MEASURED

    lines = list(sweep_lines(jobs, measure=measure, now=MORNING))
    assert measured == [jobs["0: train.lr=0.1"], jobs["2: train.batch_size=4"], jobs["3: data.size=3"]]
    assert lines[0].startswith("0: train.lr=0.1  14 steps, 14 min 20 s")
    assert lines[1].startswith("1: train.lr=0.2  21 steps, 21 min 20 s")
    assert lines[3] == "3: data.size=3  would fail: data.size=3: too few points"
    total = "3 jobs one after another, without 1 that would fail, from 2 measurements: 50 min 00 s"
    assert lines[4].startswith(total)
    assert lines[5] == "end: 10:20 if it starts now"
