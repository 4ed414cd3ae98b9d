"""What a run would cost: from measured steps, and by arithmetic from known times."""

import tempfile

import pytest

from partoken.errors import UserError
from partoken.training.engine import carry_out
from partoken.training.probes import cost as cost_module
from partoken.training.probes import stopwatch
from partoken.training.probes.cost import Measurement, estimate, measure, measure_apart, same_cost
from partoken.training.probes.short_run import untraced
from partoken.training.probes.stopwatch import EvaluationTimes, StageTimes
from tests.training import clocked
from tests.training.runs import settings

CLOCKED = {"_target_": "tests.training.clocked.Clocked"}
TWO = {"_target_": "tests.training.adversarial.Adversarial"}
STAGES = {"first": {"epochs": 3}, "second": {"steps": 14, "weights_from": "best"}}


@pytest.fixture(autouse=True)
def few_steps(monkeypatch, tmp_path):
    """Measures no more than is needed, in a temporary folder whose content the tests can see."""
    monkeypatch.setattr(stopwatch, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(stopwatch, "EVALUATION_SECONDS", 0.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")


def stage(**changes):
    """Returns the times of a stage of 10 batches, accumulated by 4: 0.5 s a batch, 2 s at the end of an epoch."""
    known = {"name": "", "batches_per_epoch": 10, "accumulate": 4, "steps_per_epoch": 3, "first_window": (4, 9.0)}
    known |= {"windows": [(4, 2.0), (2, 1.0)], "epochs": 1, "epoch_end_seconds": 2.0}
    known["validation"] = EvaluationTimes(num_batches=20, measured=4, batch_seconds=4.0, calls=1, seconds=7.0)
    known["test"] = EvaluationTimes(num_batches=5, measured=5, batch_seconds=5.0, calls=1, seconds=6.0)
    return StageTimes(**{**known, **changes})


def cost(times, trainer=(), **given):
    trainer = {"accumulate_grad_batches": 4, **dict(trainer)}
    return estimate(settings(trainer=trainer, **given), Measurement(30.0, 60.0, [times], 10**9, None))


@pytest.fixture
def clock(monkeypatch):
    """Makes time pass only where the task says so."""
    monkeypatch.setattr(stopwatch, "time", clocked.CLOCK)
    monkeypatch.setattr(cost_module, "time", clocked.CLOCK)
    return clocked.CLOCK


def test_the_estimate_multiplies_what_a_run_repeats():
    expected = cost(stage(), epochs=3)
    [part] = expected.stages
    assert (part.epochs, part.steps, part.step) == (3, 9, 2.0)
    assert part.training == 5.0  # 10 batches of 0.5 s
    assert part.validation == 3 + 20  # 3 s besides 20 batches of 1 s
    assert part.repeated == 3 * (5.0 + 2.0 + 23.0) + 6.0
    assert expected.seconds == 30.0 + part.repeated


@pytest.mark.parametrize(
    ("trainer", "batches", "epochs", "validations"),
    [
        ({"max_steps": 7}, 24, 3, 3),  # two whole epochs of 3 steps, and a step of 4 batches
        ({"check_val_every_n_epoch": 2}, 30, 3, 1),
        ({"val_check_interval": 0.5}, 30, 3, 6),
        ({"val_check_interval": 4}, 30, 3, 6),
        ({"check_val_every_n_epoch": None, "val_check_interval": 7}, 30, 3, 4),
    ],
    ids=str,
)
def test_limits_and_validations_are_counted_as_lightning_does(trainer, batches, epochs, validations):
    [part] = cost(stage(), epochs=3, trainer=trainer).stages
    assert part.repeated == batches * 0.5 + epochs * 2.0 + validations * 23.0 + 6.0


def test_a_resumed_run_costs_what_is_left():
    whole, rest = cost(stage(), epochs=5), cost(stage(first_epoch=2, first_step=6), epochs=5)
    assert whole.seconds - rest.seconds == 2 * (5.0 + 2.0 + 23.0)
    assert rest.stages[0].steps == 9


def test_a_limit_of_time_ends_the_training_but_not_the_test():
    [part] = cost(stage(), epochs=1000, trainer={"max_time": "00:00:01:00"}).stages
    assert part.repeated == 60.0 + 6.0


def test_a_run_that_only_tests_costs_its_test():
    [part] = cost(stage(batches_per_epoch=0, steps_per_epoch=None, first_window=(0, 0.0), windows=[])).stages
    assert (part.epochs, part.steps, part.repeated) == (0, 0, 23.0 + 6.0)


def test_a_run_that_only_tests_is_measured(clock, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    carry_out(settings(model=CLOCKED, epochs=1), run)
    checkpoint = str(run / "checkpoints/best.ckpt")
    given = {**settings(model=CLOCKED, data={"size": 40}, resume_from=checkpoint), "fit": False}
    validation = clocked.VALIDATION_START + 20 * clocked.VALIDATION
    assert estimate(given, measure(given)).seconds == validation + 20 * clocked.TEST


def test_a_run_without_a_length_takes_its_limit_of_time_or_is_refused():
    endless = stage(batches_per_epoch=float("inf"), steps_per_epoch=None)
    [part] = cost(endless, trainer={"max_epochs": -1, "max_time": {"minutes": 1}}).stages
    assert (part.steps, part.repeated) == (30, 66.0)
    with pytest.raises(UserError, match=r"max_epochs=-1 and trainer\.max_steps=-1; set one of them"):
        cost(endless, trainer={"max_epochs": -1})


def test_the_range_is_wider_for_steps_that_differ():
    alike, unlike = stage(windows=[(4, 2.0)] * 9), stage(windows=[(4, 1.0), (4, 3.0), (4, 2.0)] * 3)
    assert cost(alike, epochs=50).error == pytest.approx(0.1 * cost(alike, epochs=50).seconds)
    # The standard deviation of 0.25, 0.75, 0.5 (three times each) is 0.217; its standard error is a third of it.
    assert cost(unlike, epochs=500).stages[0].error == pytest.approx(2 * 0.2165 / 3 * 5000, rel=0.01)


def test_measured_times_are_those_of_the_task(clock):
    measured = measure(settings(model=CLOCKED, data={"size": 80}, epochs=50), before=100.0)
    [times] = measured.stages
    assert times.windows == [(1, clocked.STEP)] * stopwatch.MIN_STEPS
    assert times.first_window == (1, clocked.STEP + clocked.FIRST_STEP)
    validation = clocked.VALIDATION_START + 40 * clocked.VALIDATION
    assert (times.validation.measured, times.validation.whole) == (stopwatch.MIN_BATCHES, validation)
    assert (times.test.measured, times.test.whole) == (stopwatch.MIN_BATCHES, 40 * clocked.TEST)
    assert measured.once == 100.0 + clocked.START + clocked.FIRST_STEP


@pytest.mark.parametrize(
    "given",
    [
        {"data": {"size": 24}, "epochs": 5, "trainer": {"accumulate_grad_batches": 5}},
        {"data": {"size": 6}, "epochs": 9, "trainer": {"accumulate_grad_batches": 5}},
        {"epochs": 8, "trainer": {"check_val_every_n_epoch": 2, "min_epochs": 8}},
        {"epochs": 2, "trainer": {"val_check_interval": 3}},
        {"stages": {"first": {"epochs": 6}, "second": {"epochs": 4, "weights_from": "best"}}, "warmup_steps": 0},
    ],
    ids=str,
)
def test_the_estimate_is_the_time_of_the_run(given, clock, tmp_path):
    given = settings(model=CLOCKED, **given)
    expected = estimate(given, measure(given))
    start = clock.now
    summary = carry_out(given, tmp_path)
    assert expected.seconds == pytest.approx(clock.now - start)
    assert sum(part.steps for part in expected.stages) == summary["schedule"]["steps"]


@pytest.mark.parametrize("model", [{}, TWO], ids=["one optimizer", "two optimizers"])
def test_stages_are_measured_one_after_another_and_nothing_is_left(model, tmp_path):
    given = settings(model=model, stages=STAGES, warmup_steps=0, use_wandb=True)
    given["logger"] = {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "logs"}
    first, second = estimate(given, measure(given)).stages
    assert (first.name, first.epochs, first.steps) == ("first", 3, 21)
    assert (second.name, second.epochs, second.steps) == ("second", 2, 14)
    assert list((tmp_path / "temporary").iterdir()) == list((tmp_path / "current").iterdir()) == []


def test_paths_in_the_run_folder_are_paths_in_the_temporary_one():
    given = settings()
    given["data"] = {**given["data"], "roots": ["RUN_FOLDER/a", "RUN_FOLDER_2/a", "/x/RUN_FOLDER/a"]}
    with untraced(given) as (own, folder):
        assert own["data"]["roots"] == [f"{folder}/a", "RUN_FOLDER_2/a", "/x/RUN_FOLDER/a"]
        assert folder.is_dir()
    assert not folder.exists()


def test_several_devices_are_refused():
    with pytest.raises(UserError, match=r"trainer has 2 .*add trainer.devices=1"):
        measure(settings(trainer={"devices": 2}))


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"lr": 0.5, "seed": 3, "warmup_steps": 7, "use_cosine_schedule": False}, True),
        ({"epochs": 70}, True),
        ({"optimizer": "adam"}, False),
        ({"batch_size": 7}, False),
        ({"trainer": {"precision": "bf16-mixed"}}, False),
        ({"data": {"size": 20}}, False),
        ({"stages": [{"epochs": 1}]}, False),
    ],
    ids=str,
)
def test_jobs_that_differ_in_rates_seeds_and_lengths_share_a_measurement(changes, same):
    assert same_cost(settings(), settings(**changes)) is same


def test_stages_with_other_rates_and_lengths_share_a_measurement():
    one, other = ([{"epochs": 3, "lr": 0.1}], [{"epochs": 4, "lr": 0.2}])
    assert same_cost(settings(stages=one), settings(stages=other))
    assert not same_cost(settings(stages=one), settings(stages=[{"epochs": 3, "freeze": ["network.0"]}]))


def test_a_job_of_a_sweep_is_measured_in_a_process_of_its_own():
    measured = measure_apart(settings())
    assert measured.memory > 10**8
    assert measured.once > 0.5, "the imports of the new process count"
    assert measured.stages[0].steps_per_epoch == 7
