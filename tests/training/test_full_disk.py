"""A disk without space ends a run with one message; what was written before is whole, and nothing is half-written."""

import errno
import io
import json

import pytest

from partoken.errors import UserError
from partoken.system import files
from partoken.system.checkpoint import read_checkpoint
from partoken.system.files import atomic_write, explain_full_disk
from partoken.system.run_status import record_status
from partoken.system.tables import read_table
from partoken.training import recorders
from partoken.training.engine import carry_out
from tests.training.runs import settings

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class FullFile(io.FileIO):
    """Takes some bytes, then the disk is full."""

    room = 10

    def write(self, content):
        if self.tell() + len(content) > self.room:
            raise NO_SPACE
        return super().write(content)


def full(monkeypatch, *names, after=0):
    """Lets the disk be full whenever one of these files is written, from the given time on."""
    real, seen = open, dict.fromkeys(names, 0)

    def open_full(path, mode="r", **options):
        name = next((name for name in names if name in str(path)), None)
        if name is None or not set(mode) & set("wa"):
            return real(path, mode, **options)
        seen[name] += 1
        if seen[name] <= after:
            return real(path, mode, **options)
        file = FullFile(path, mode.replace("b", ""))
        return file if "b" in mode else io.TextIOWrapper(file, encoding="utf-8", write_through=True)

    for module in (files, recorders):
        monkeypatch.setattr(module, "open", open_full, raising=False)


@pytest.mark.parametrize("name", ["status.json", "last.ckpt", "best.ckpt", "lr.csv", "metrics.csv", "summary.json"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_on_a_full_disk_ends_with_one_message_and_no_part_of_a_file(name, tmp_path, monkeypatch):
    full(monkeypatch, name)
    with pytest.raises(UserError, match=r"no space left on the disk of .*free some space"):
        carry_out(settings(), tmp_path)
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "summary.json").exists()


def test_the_last_good_checkpoint_stays_whole_and_resumes(tmp_path, monkeypatch):
    full(monkeypatch, "last.ckpt", after=1)
    with pytest.raises(UserError, match=r"no space left .*last\.ckpt"):
        carry_out(settings(), tmp_path)
    last = tmp_path / "checkpoints/last.ckpt"
    assert read_checkpoint(last)["epoch"] == 0
    assert json.loads((tmp_path / "status.json").read_text())["status"] == "failed"
    monkeypatch.undo()
    carry_out(settings(resume_from=str(last)), tmp_path)
    assert [int(row["step"]) for row in read_table(tmp_path / "lr.csv")] == [
        step for step in range(21) for _group in range(2)
    ]


def test_a_status_that_cannot_be_written_hides_no_error(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="the real reason"), record_status(tmp_path):
        full(monkeypatch, "status.json")
        raise RuntimeError("the real reason")


def test_the_old_file_stays_if_the_new_one_finds_no_space(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(UserError, match=r"no space left on the disk of .*table\.csv"), atomic_write(path) as file:
        file.write("new")
        raise NO_SPACE
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_of_files_pass(tmp_path):
    with pytest.raises(PermissionError), explain_full_disk(tmp_path):
        raise PermissionError
