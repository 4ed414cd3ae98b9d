"""What a search chooses from, in Hydra's grammar."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from partoken.errors import UserError
from partoken.sweep.space import SearchSettings, dimension

SETTINGS = {"trials": 20, "sampler_seed": 0, "startup_trials": 8, "pruner": "median", "prune_after_epochs": 2}


def parse(word):
    return dimension(OverridesParser.create().parse_override(word))


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("interval(0.1,0.9)", (0.1, 0.9, None, False, False)),
        ("interval(1,9)", (1, 9, None, False, False)),
        ("int(interval(1,9))", (1, 9, 1, True, False)),
        ("tag(log,interval(1e-4,1e-2))", (1e-4, 1e-2, None, False, True)),
        ("tag(log,int(interval(1,100)))", (1, 100, 1, True, True)),
        ("range(1,4)", (1, 3, 1, True, False)),
        ("range(1,10,3)", (1, 7, 3, True, False)),
        ("range(4,0,-1)", (1, 4, 1, True, False)),
        ("range(0,1,0.25)", (0, 0.75, 0.25, False, False)),
        ("tag(log,range(1,65))", (1, 64, 1, True, True)),
    ],
)
def test_numbers_have_ends_steps_and_a_scale(value, numbers):
    found = parse(f"train.x={value}")
    assert (found.low, found.high, found.step, found.is_whole, found.is_log) == numbers
    assert found.choices is None


@pytest.mark.parametrize(
    ("word", "choices"),
    [
        ("model=a,b", ["a", "b"]),
        ("train.batch_size=choice(4,8,16)", ["4", "8", "16"]),
        ("train.optimizer='adam,w',sgd", ["'adam,w'", "sgd"]),
        ("train.freeze=[],[network.encoder]", ["[]", "[network.encoder]"]),
    ],
)
def test_choices_are_words_of_a_command_line(word, choices):
    found = parse(word)
    assert list(found.choices) == choices
    assert [found.word(value) for value in found.choices] == [f"{word.split('=')[0]}={value}" for value in choices]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tag(logarithmic,interval(1,2))", "there is no tag logarithmic"),
        ("tag(log,choice(1,2))", "a list has no logarithmic scale"),
        ("tag(log,interval(0,1))", "a logarithmic scale begins above 0"),
        ("tag(log,range(1,9,2))", "a logarithmic scale has no steps"),
        ("tag(log,range(1.0,9.0))", "a logarithmic scale has no steps"),
        ("interval(2,1)", "ends below its start"),
        ("range(3,3)", "this range has no value"),
    ],
)
def test_values_that_cannot_be_are_refused(value, message):
    with pytest.raises(UserError, match=message):
        parse(f"train.x={value}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, r"sweep\.trials=0"),
        ({"sampler_seed": -1}, r"sweep\.sampler_seed=-1"),
        ({"startup_trials": 1.5}, r"sweep\.startup_trials=1\.5"),
        ({"pruner": "mean"}, r"sweep\.pruner=mean: choose median or none"),
        ({"prune_after_epochs": 0}, r"sweep\.prune_after_epochs=0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        SearchSettings.read({**SETTINGS, **changes})


def test_a_score_of_the_test_cannot_stop_a_job():
    with pytest.raises(UserError, match="a job that runs has no score of the test"):
        SearchSettings(**SETTINGS).check_metric("test_accuracy")
    SearchSettings(**{**SETTINGS, "pruner": "none"}).check_metric("test_accuracy")
