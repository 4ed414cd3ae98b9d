"""Weights that ship with the package are found by their name."""

from pathlib import Path

import pytest

from partoken.errors import UserError
from partoken.system.shipped import find_weights, shipped_weights


def test_a_name_stands_for_the_checkpoint_in_the_package():
    assert find_weights("enzymes") == shipped_weights()["enzymes"]
    assert find_weights("enzymes").is_file()
    assert find_weights("pretrained") == find_weights("enzymes")


def test_a_file_of_the_same_name_is_meant_before_the_weights_that_ship(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "enzymes").mkdir()
    assert find_weights("enzymes") == shipped_weights()["enzymes"]
    (tmp_path / "enzymes").rmdir()
    (tmp_path / "enzymes").write_bytes(b"")
    assert find_weights("enzymes") == Path("enzymes")


@pytest.mark.parametrize("path", ["best.ckpt", "outputs/enzymes", Path("/outputs/enzymes")], ids=str)
def test_a_path_is_never_a_name(path):
    assert find_weights(path) == Path(path)


def test_a_word_that_names_nothing_is_refused_with_the_names_that_exist():
    message = r"enzyme: neither a file nor weights .*: enzymes, pretrained\. Did you mean enzymes\?"
    with pytest.raises(UserError, match=message):
        find_weights("enzyme")


def test_an_installation_without_weights_says_so(monkeypatch):
    monkeypatch.setattr("partoken.system.shipped.shipped_weights", dict)
    with pytest.raises(UserError, match="none in this installation"):
        find_weights("enzymes")
