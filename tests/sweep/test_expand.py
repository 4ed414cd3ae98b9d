"""From the command line of a sweep to its jobs."""

import pytest

from partoken.errors import UserError
from partoken.sweep.expand import expand, is_sweep


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-m", "train.lr=1,2"], True),
        (["train.lr=1", "--multirun"], True),
        (["hydra.mode=MULTIRUN", "train.lr=1,2"], True),
        (["train.lr=1"], False),
        (["-m", "--cfg", "job"], False),
        (["-m", "--help"], False),
        (["--config-dir", "mine", "train.lr=1"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_runs_a_sweep_or_not(words, expected):
    assert is_sweep(words) == expected


def test_the_jobs_are_the_product_of_the_values_and_the_last_key_moves_first():
    jobs = expand(["-m", "train.lr=0.1,0.2", "train.epochs=7", "train.seed=range(1,4)"]).jobs
    found = [(job.config["train"]["lr"], job.config["train"]["seed"]) for job in jobs]
    assert found == [(0.1, 1), (0.1, 2), (0.1, 3), (0.2, 1), (0.2, 2), (0.2, 3)]
    assert {job.config["train"]["epochs"] for job in jobs} == {7}


def test_a_preset_brings_values_and_the_command_line_wins():
    jobs = expand(["-m", "sweep=lr", "train.lr=0.5"]).jobs
    assert [job.config["train"]["use_cosine_schedule"] for job in jobs] == [True, False]
    assert {job.config["train"]["lr"] for job in jobs} == {0.5}


def test_groups_can_be_swept():
    jobs = expand(["-m", "data=embedded,synthetic"]).jobs
    assert [job.config["data"]["_target_"].rsplit(".")[-1] for job in jobs] == ["embedded", "synthetic"]


def test_a_job_that_cannot_be_composed_keeps_its_place_with_the_reason():
    jobs = expand(["-m", "train.lr=0.1,-1,0.2"]).jobs
    assert [job.error is None for job in jobs] == [True, False, True]
    assert "train.lr=-1: must be a number above 0" in jobs[1].error


def test_the_configuration_of_a_job_leaves_out_what_changes_no_number():
    other = ["logger=tensorboard", "launcher=local", "n_jobs=2"]
    one, two = (expand(["-m", "train.seed=1", *extra]).jobs[0] for extra in ([], other))
    assert one.config == two.config
    assert expand(["-m", "train.seed=1", "train.batch_size=3"]).jobs[0].config != one.config


def test_a_job_has_as_many_threads_as_cores_if_only_these_are_given():
    words = ["-m", "train.seed=1", "launcher=submitit", "launcher.cpus_per_task=4"]
    assert expand(words).threads == 4
    assert expand([*words, "sweep.threads=3"]).threads == 3
    assert expand(["-m", "train.seed=1"]).threads is None


def test_the_folder_of_a_job_follows_hydras_pattern():
    job = expand(["-m", "train.seed=3", "hydra.sweep.subdir='job-${hydra.job.num}'"]).jobs[0]
    assert job.subfolder(12) == "job-12"
    named = expand(["-m", "train.seed=3", "hydra.sweep.subdir='${hydra.job.override_dirname}'"]).jobs[0]
    assert "train.seed=3" in named.subfolder(0)


def test_the_metric_is_the_monitor_or_needs_a_direction():
    sweep = expand(["-m", "train.seed=1,2", "train.monitor=val_loss", "train.monitor_mode=min"])
    assert (sweep.metric, sweep.direction) == ("val_loss", "min")
    sweep = expand(["-m", "train.seed=1,2", "sweep.metric=test_accuracy", "sweep.direction=max"])
    assert (sweep.metric, sweep.direction) == ("test_accuracy", "max")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.epoch=3,4"], r"train\.epoch is not a key.*train\.epochs"),
        (["train.lr=-1,-2"], r"train\.lr=-1"),
        (["train.lr=1,"], "train.lr=1,: "),
        (["train.lr=0.1,1e-1"], "jobs 0 .* and 1 .* have the same configuration"),
        (["train.lr=interval(1,2)"], "sweep=search"),
        (["hydra/launcher=joblib", "train.lr=1,2"], "launcher=local"),
        (["sweep.metric=test_accuracy", "train.lr=1,2"], r"sweep\.direction=max or"),
        (["sweep.direction=up", "train.lr=1,2"], r"sweep\.direction"),
        (["sweep.metrc=val_loss", "train.lr=1,2"], r"sweep\.metrc.*sweep\.metric"),
        (["n_jobs=0", "train.lr=1,2"], "n_jobs=0"),
        (["n_jobs=2", "train.lr=1,2"], "launcher=serial runs one job at a time; add launcher=local"),
        (["trainer.num_nodes=2", "train.lr=1,2"], r"trainer\.num_nodes=2: a job of a sweep runs on one machine"),
        (["sweep.threads=0", "train.lr=1,2"], r"sweep\.threads=0"),
        (["sweep=nothing", "train.lr=1,2"], "choose from"),
        (["--config-name", "other", "train.lr=1,2"], "--config-name with -m"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_that_concerns_the_whole_sweep_is_refused(words, message):
    with pytest.raises(UserError, match=message):
        expand(["-m", *words])


@pytest.mark.parametrize(
    ("preset", "keys", "values"),
    [
        ("warmup", ["warmup_epochs", "schedule_interval"], [(0, "step"), (0.5, "step"), (1, "step"), (2, "step")]),
        (
            "schedule",
            ["use_cosine_schedule", "schedule_interval"],
            [(False, "epoch"), (True, "epoch"), (True, "step")],
        ),
        ("seeds", ["seed"], [(0,), (1,), (2,), (3,), (4,)]),
    ],
)
def test_a_preset_asks_for_the_jobs_that_answer_its_question(preset, keys, values):
    jobs = expand(["-m", f"sweep={preset}"]).jobs
    assert [tuple(job.config["train"][key] for key in keys) for job in jobs] == values


def test_keys_that_change_together_are_combined_with_every_other_key():
    jobs = expand(["-m", "sweep=schedule", "train.seed=1,2", "train.warmup_epochs=2"]).jobs
    found = [(job.config["train"]["use_cosine_schedule"], job.config["train"]["seed"]) for job in jobs]
    assert found == [(False, 1), (False, 2), (True, 1), (True, 2), (True, 1), (True, 2)]
    assert {job.config["train"]["warmup_epochs"] for job in jobs} == {2}


def test_a_key_of_the_command_line_wins_over_keys_that_change_together():
    with pytest.raises(UserError, match=r"jobs 1 .* and 2 .* have the same configuration"):
        expand(["-m", "sweep=schedule", "train.schedule_interval=step"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep.variants=3"], r"sweep\.variants=3: must be a list of mappings"),
        (["sweep=search", "train.lr=1", "train.warmup_epochs=0", "train.weight_decay=0"], "no key has values"),
        (["sweep=search", "sweep.retry_failed=true"], "has learnt from its failed jobs"),
        (["sweep=search", "sweep.metric=test_loss", "sweep.direction=min"], "a job that runs has no score of the test"),
        (["sweep=search", "train.lr=interval(-2,-1)"], r"train\.lr=-2\.0: must be a number above 0"),
        (["sweep=search", "sweep.variants=[{train.seed: 1}]"], "a search chooses from single keys"),
        (["train.lr=interval(1,2)"], "search in it with sweep=search"),
    ],
    ids=["variants", "no space", "failed jobs", "metric", "values", "variants and search", "interval"],
)
def test_a_mistake_in_variants_or_a_search_is_one_message(words, message):
    with pytest.raises(UserError, match=message):
        expand(["-m", *words])


def test_a_search_has_a_space_and_the_jobs_at_its_ends():
    sweep = expand(["-m", "sweep=search", "train.weight_decay=0", "train.optimizer=adamw,sgd", "train.seed=4"])
    assert [item.key for item in sweep.space] == ["train.lr", "train.warmup_epochs", "train.optimizer"]
    found = [tuple(job.config["train"][key] for key in ("lr", "optimizer", "seed")) for job in sweep.jobs]
    assert found == [(1e-4, "adamw", 4), (1e-2, "sgd", 4)]
    assert (sweep.search.trials, sweep.search.pruner) == (20, "median")


def test_a_sweep_over_presets_and_their_keys_has_the_segments_of_each():
    jobs = expand(["-m", "schedule=wsd,linear_to_zero"]).jobs
    shapes = [[segment["shape"] for segment in job.config["train"]["schedule"]["segments"]] for job in jobs]
    assert shapes == [["linear", "constant", "1-sqrt"], ["linear", "linear"]]


def test_a_sweep_over_forks_has_the_trunk_of_each(tmp_path):
    words = ["schedule=cooldown", "schedule.length=10%,20%", f"resume={tmp_path}/a.ckpt,{tmp_path}/b.ckpt"]
    jobs = expand(["-m", *words]).jobs
    found = [(job.config["schedule"]["segments"][1]["length"], job.config["resume"][-6:]) for job in jobs]
    assert found == [("10%", "a.ckpt"), ("10%", "b.ckpt"), ("20%", "a.ckpt"), ("20%", "b.ckpt")]


def test_a_sweep_resumes_no_run_but_a_trunk_of_its_forks(tmp_path):
    with pytest.raises(UserError, match="a sweep goes on by itself"):
        expand(["-m", "train.lr=1,2", f"resume={tmp_path}/a.ckpt"])
    with pytest.raises(UserError, match="goes on from a checkpoint and none is given"):
        expand(["-m", "schedule=cooldown", "schedule.length=10%,20%"])
