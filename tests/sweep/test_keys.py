"""Which keys differ between the jobs of a sweep, and which of them follow others."""

from pathlib import Path

import pytest

from partoken.sweep.keys import differing_keys
from partoken.sweep.results import JobResult
from tests.sweep.made import nested


def jobs(*settings, overridden=()):
    """Returns jobs with these keys; those in `overridden` are on their command line."""
    found = []
    for number, keys in enumerate(settings):
        own = tuple(f"{key}={keys[key]}" for key in overridden if key in keys)
        leaves = {key: value for key, value in keys.items() if "." in key}
        found.append(JobResult(number, Path(f"sweep/{number}"), nested(leaves), own, "finished"))
    return found


def test_only_keys_whose_values_vary_are_listed_and_the_seed_is_the_last():
    first, second = {"train.seed": 1, "train.lr": 0.1, "a.b": 1}, {"train.seed": 2, "train.lr": 0.2, "a.b": 1}
    found = differing_keys(jobs(first, second))
    assert found.main == ["train.lr", "train.seed"]
    assert found.values == [{"train.seed": 1, "train.lr": 0.1}, {"train.seed": 2, "train.lr": 0.2}]


@pytest.mark.parametrize(
    "key",
    ["logger.save_dir", "hydra.run.dir", "train.resume_from", "launcher.jobs", "sweep.metric", "run.name"],
)
def test_keys_that_do_not_change_the_training_are_left_out(key):
    assert differing_keys(jobs({key: "one"}, {key: "two"}, overridden=[key])).every == []


def test_a_path_in_the_run_folder_is_the_same_setting_in_every_job():
    found = differing_keys(jobs({"data.cache": "sweep/0/cache"}, {"data.cache": "sweep/1/cache"}))
    assert found.every == []


def test_a_key_that_an_interpolation_sets_follows_the_key_that_was_asked_for():
    settings = [{"trainer.max_epochs": n, "train.epochs": n, "train.lr": 0.1 * (n == 6)} for n in (5, 6)]
    found = differing_keys(jobs(*settings, overridden=["train.lr", "train.epochs"]))
    assert found.main == ["train.lr", "train.epochs"]
    assert found.followers == {"train.epochs": ["trainer.max_epochs"]}
    assert "trainer.max_epochs" in found.every


def test_a_seed_of_the_data_that_is_the_seed_of_the_training_follows_it():
    settings = [{"train.lr": lr, "data.seed": seed, "train.seed": seed} for lr, seed in ((0.1, 1), (0.2, 2))]
    found = differing_keys(jobs(*settings, overridden=["train.lr", "train.seed"]))
    assert (found.main, found.followers) == (["train.lr", "train.seed"], {"train.seed": ["data.seed"]})


def test_two_keys_that_were_both_asked_for_are_both_shown_even_if_they_change_together():
    settings = [{"train.lr": n, "train.batch_size": n} for n in (1, 2)]
    assert differing_keys(jobs(*settings, overridden=settings[0])).main == ["train.lr", "train.batch_size"]


def test_the_choice_of_an_option_is_a_key_and_the_keys_of_the_option_follow_it():
    settings = [
        {"model": "small", "model.width": 8, "model.depth": 1},
        {"model": "large", "model.width": 32, "model.depth": 2, "model.extra": None},
    ]
    found = differing_keys(jobs(*settings, overridden=["model"]))
    assert (found.main, found.followers) == (["model"], {"model": ["model.width", "model.depth", "model.extra"]})
    assert [own["model"] for own in found.values] == ["small", "large"]


def test_a_key_that_a_job_does_not_have_is_empty_there():
    found = differing_keys(jobs({"train.lr": 1}, {"train.lr": 2, "train.extra.x": 3}, {"train.lr": 2}))
    assert [own["train.extra.x"] for own in found.values] == ["", 3, ""]


def test_equal_numbers_of_two_types_do_not_differ_but_true_and_one_do():
    assert differing_keys(jobs({"a.b": 1, "a.c": True}, {"a.b": 1.0, "a.c": 1})).every == ["a.c"]


def test_a_job_that_could_not_be_composed_has_the_values_of_its_overrides():
    known = jobs({"train.lr": 0.1, "a.b": 1}, overridden=["train.lr"])
    wrong = JobResult(1, Path("sweep/1"), {}, ("train.lr=-1", "hydra.job.num=1"), "failed")
    found = differing_keys([*known, wrong])
    assert found.main == ["train.lr"] and found.values == [{"train.lr": 0.1}, {"train.lr": -1}]


def test_a_job_without_a_configuration_makes_no_key_differ():
    known = jobs({"a.b": 1, "train.lr": 1}, {"a.b": 1, "train.lr": 2})
    lost = JobResult(2, Path("sweep/2"), {}, (), "interrupted")
    found = differing_keys([*known, lost])
    assert found.every == ["train.lr"] and found.values[2] == {"train.lr": ""}


def test_the_keys_of_a_preset_are_shown_without_the_segments_that_they_decide_and_forks_with_their_trunk():
    def keys(length, trunk):
        listed = [{"length": "done"}, {"length": length, "shape": "linear"}]
        own = {"schedule.length": length, "schedule.segments": listed}
        return {**own, **{f"train.{key}": value for key, value in own.items()}, "resume": trunk}

    found = [
        JobResult(number, Path(f"sweep/{number}"), nested(keys(*case)), (f"schedule.length={case[0]}",), "finished")
        for number, case in enumerate([("10%", "a.ckpt"), ("20%", "a.ckpt"), ("10%", "b.ckpt")])
    ]
    assert differing_keys(found).main == ["schedule.length", "resume"]
    assert differing_keys(found[:2]).main == ["schedule.length"]
