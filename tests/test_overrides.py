"""What Hydra would complain about becomes one message that names the word and how to write it."""

import shlex

import pytest

from partoken.cli import train
from partoken.config import compose
from partoken.errors import UserError
from partoken.overrides import parse_arguments, parse_overrides


@pytest.mark.parametrize("value", ["a/epoch=2.ckpt", "~/x.ckpt", "it's", "a(b", "é", 'a("b'])
def test_the_quoting_that_a_message_shows_works(value):
    word = f"train.resume_from={value}"
    with pytest.raises(UserError) as caught:
        parse_overrides([word])
    message, _, shown = str(caught.value).partition("inside those of the shell: ")
    assert message.startswith(f"{word}: ")
    (typed,) = shlex.split(shown)
    assert parse_overrides([typed])[0].value() == value


def test_a_path_in_the_home_may_be_quoted(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert compose(["data=folder", 'data.root="~/chains"']).data.root == "/home/me/chains"


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("train.lr", ["train.lr: has no value", "train.lr=VALUE"]),
        ("data", ["data: choose an option", "data=embedded"]),
        ("train.stages=[{epochs:1]", ["train.stages=[{epochs:1]", "brackets"]),
        ("=3", ["=3: has no key"]),
        ("train..lr=3", ["'train..lr=3'", "KEY=VALUE"]),
        (" ", ["' '", "KEY=VALUE"]),
        ("data=5", ["data=5", "choose an option of data", "embedded"]),
        ("train.lr=0.1,0.2", ["train.lr=0.1,0.2", "-m", "train.lr=[0.1,0.2]"]),
        ("+train.lr=3", ["+train.lr", "leave out the +"]),
        ("++foo.bar=3", ["foo is not a key"]),
        ("~train.lrr", ["train.lrr is not a key", "train.lr?"]),
        ("train.lr=${foo}", ["train.lr", "'foo' not found"]),
        ("~train.lr", ["train.lr", "taken out", "~train.lr"]),
        ("~data", ["data", "taken out", "~data"]),
        ("~trainer.max_epochs", ["trainer.max_epochs", "taken out"]),
        ("data=folder", ["data.root: has no value", "data.root=VALUE"]),
        ("cost=5", ["cost=5", "true or false"]),
    ],
)
def test_a_word_that_cannot_be_used_is_named_with_the_fix(word, words):
    with pytest.raises(UserError) as caught:
        compose([word])
    message = str(caught.value)
    assert [part for part in words if part not in message] == []
    assert "\n" not in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train.seed=1", "-m", "train.lr=1,2"], ["train.lr=1,2: comes after -m", "before all"]),
        (["--conf-dir=x"], ["--conf-dir=x: no such option", "Did you mean --config-dir?"]),
        (["--cfg=foo"], ["--cfg", "'foo'"]),
        (["--config-dir"], ["--config-dir", "expected one argument"]),
    ],
)
def test_options_are_refused_in_one_line(arguments, words, capsys):
    assert train(arguments) == 2
    said = capsys.readouterr().err
    assert [part for part in words if part not in said] == []
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", [["-m", "a=1,2", "b=3"], ["a=1,2", "b=3", "-m"]])
def test_options_may_stand_before_and_after_all_overrides(arguments):
    given = parse_arguments(arguments)
    assert (given.multirun, given.overrides) == (True, ["a=1,2", "b=3"])


def test_a_current_folder_that_was_deleted_is_one_message(tmp_path, monkeypatch, capsys):
    def gone():
        raise FileNotFoundError

    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.setattr("os.getcwd", gone)
    assert train([]) == 2
    assert f"{tmp_path}: this folder no longer exists" in capsys.readouterr().err
