"""Reading a checkpoint file; any damage is one message that names the file."""

import pathlib

import pytest
import torch

from partoken.errors import UserError
from partoken.system.checkpoint import read_checkpoint


def test_a_checkpoint_is_read_with_its_tensors(tmp_path):
    weight = torch.arange(3.0)
    torch.save({"state_dict": {"weight": weight}, "epoch": 4}, tmp_path / "x.ckpt")
    content = read_checkpoint(str(tmp_path / "x.ckpt"))
    assert content["epoch"] == 4
    assert torch.equal(content["state_dict"]["weight"], weight)


def test_a_missing_file_is_one_message(tmp_path):
    with pytest.raises(UserError, match=r"x\.ckpt: no such checkpoint"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"],
    ids=["empty", "text", "truncated"],
)
def test_a_damaged_file_is_one_message(content, tmp_path):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.ckpt"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_a_checkpoint_that_would_run_code_is_rejected(tmp_path):
    torch.save({"state_dict": {}, "code": test_a_missing_file_is_one_message}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"x\.ckpt cannot be read"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2]], ids=["no state_dict", "no dictionary"])
def test_a_file_with_other_content_is_one_message(content, tmp_path):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match="state_dict"):
        read_checkpoint(tmp_path / "x.pt")


def test_a_file_that_could_run_code_is_refused_without_advice_to_trust_it(tmp_path):
    torch.save({"state_dict": {}, "code": pathlib.PurePosixPath("x")}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="more than tensors and plain values") as caught:
        read_checkpoint(tmp_path / "a.ckpt")
    assert "weights_only" not in str(caught.value)
    assert "trust" not in str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_rejected_by_name(value, tmp_path):
    weights = {"count": torch.tensor(3), "good": torch.ones(2), "bad": torch.tensor([1.0, value])}
    torch.save({"state_dict": weights}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"x\.ckpt: its weight bad is not a finite number"):
        read_checkpoint(tmp_path / "x.ckpt")
