"""Reading a checkpoint file, or one message that names it."""

import pytest
import torch

from partoken.errors import UserError
from partoken.system.checkpoint import read_checkpoint


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_one_message(content, tmp_path):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.ckpt"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_a_file_of_something_else_is_one_message(tmp_path):
    torch.save({"a": 1}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="state_dict"):
        read_checkpoint(tmp_path / "x.pt")
