"""The trials of a search: reproducible, and told whatever becomes of them."""

import sys

import pytest

from partoken.errors import UserError
from partoken.sweep.space import Dimension, SearchSettings
from partoken.sweep.study import Trials

pytest.importorskip("optuna", reason="pip install 'partoken[sweep]'")

SPACE = [Dimension(key="x", low=1e-4, high=1.0, is_log=True), Dimension(key="y", choices=("a", "b"))]


pytestmark = pytest.mark.usefixtures("impatient_database")


def trials(folder, space=SPACE, direction="min", **settings):
    chosen = {"trials": 9, "sampler_seed": 0, "startup_trials": 3, "pruner": "median", "prune_after_epochs": 1}
    return Trials(folder / "search.db", SearchSettings(**{**chosen, **settings}), space, direction)


def x(words):
    return float(words[0].removeprefix("x="))


def test_a_search_that_is_opened_again_for_each_trial_chooses_the_same_values(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, found = trials(tmp_path / "whole"), []
    for number in range(4):
        parts = trials(tmp_path / "parts")
        assert whole.ask() == parts.ask() == number
        words = whole.words(number)
        assert words == trials(tmp_path / "parts").words(number)
        found.append(x(words))
        whole.tell(number, x(words))
        parts.tell(number, x(words))
    assert len(set(found)) == 4, "no trial repeats another one"


def test_another_seed_gives_other_values(tmp_path):
    found = set()
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        own = trials(tmp_path / str(seed), sampler_seed=seed)
        own.ask()
        found.add(tuple(own.words(0)))
    assert len(found) == 2


def test_a_trial_whose_process_was_killed_while_it_was_asked_for_gets_all_its_values(tmp_path):
    trials(tmp_path).ask()  # and no value was chosen
    assert trials(tmp_path).unfinished() == [0]
    words = trials(tmp_path).words(0)
    assert [word.partition("=")[0] for word in words] == ["x", "y"]
    assert 1e-4 <= x(words) <= 1


def test_a_trial_that_another_process_has_told_is_left_as_it_is(tmp_path):
    one, two = trials(tmp_path), trials(tmp_path)
    one.ask()
    one.words(0)
    two.tell(0, 0.5)
    one.tell(0, 0.7)
    one.tell(0, None)
    one.discard(0)
    assert not one.report(0, 1, 0.1)
    assert one.values() == {0: 0.5}
    assert one.unfinished() == []


def test_a_metric_of_an_epoch_is_reported_once(tmp_path):
    own = trials(tmp_path)
    own.ask()
    assert own.report(0, 1, 0.5)
    assert not own.report(0, 1, 0.5)
    assert not trials(tmp_path).report(0, 1, 0.5), "another process knows it too"
    assert own.report(0, 2, 0.4)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_a_trial_worse_than_the_median_of_the_finished_ones_is_hopeless(direction, tmp_path):
    sign = 1 if direction == "min" else -1
    own = trials(tmp_path, direction=direction, prune_after_epochs=2)
    for number, value in enumerate((1.0, 2.0, 3.0)):
        own.ask()
        own.report(number, 1, sign * value)
        own.report(number, 2, sign * value)
        assert not own.is_hopeless(number), "too few have finished"
        own.tell(number, sign * value)
    own.ask()
    own.report(3, 1, sign * 2.5)
    assert not own.is_hopeless(3), "every trial gets two epochs"
    own.report(3, 2, sign * 2.5)
    assert own.is_hopeless(3)
    own.ask()
    own.report(4, 2, sign * 1.9)
    assert not own.is_hopeless(4)


def test_without_a_pruner_no_trial_is_hopeless(tmp_path):
    own = trials(tmp_path, pruner="none", startup_trials=0)
    for number, value in enumerate((1.0, 1.0, 1.0, 99.0)):
        own.ask()
        own.report(number, 1, value)
        assert not own.is_hopeless(number)
        own.tell(number, value)


def test_trials_without_a_value_are_avoided_and_none_is_the_best(tmp_path):
    own = trials(tmp_path, space=SPACE[:1], startup_trials=4)
    for number in range(16):
        own.ask()
        value = x(own.words(number))
        own.tell(number, None if value > 0.01 else 0.5)
    drawn = [x(own.words(number)) for number in range(16)]
    assert any(value > 0.01 for value in drawn[:4]), "the search has met the bad half"
    assert sum(value > 0.01 for value in drawn[4:]) <= 4, "9 of 12 if these trials are told as failed, 6 at random"
    assert set(own.values()) == {number for number, value in enumerate(drawn) if value <= 0.01}


def test_a_search_of_which_every_trial_has_failed_goes_on(tmp_path):
    own = trials(tmp_path, startup_trials=2)
    for number in range(5):
        own.ask()
        own.words(number)
        own.tell(number, None)
    assert own.values() == {}
    assert own.unfinished() == []


def test_a_damaged_database_is_one_message(tmp_path):
    (tmp_path / "search.db").write_text("not a database " * 100)
    with pytest.raises(UserError, match=r"search\.db cannot be read \(file is not a database\)"):
        trials(tmp_path)


def test_a_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "a ?#%20'b"
    folder.mkdir()
    trials(folder).ask()
    assert [path.name for path in folder.iterdir()] == ["search.db"]


def test_without_optuna_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"a search needs Optuna 5: .*\[sweep\]"):
        trials(tmp_path)
