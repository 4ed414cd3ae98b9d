"""A checkpoint is complete or missing, even after a kill during the save."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from partoken.system.checkpoint import read_checkpoint
from partoken.training.resume import AtomicCheckpointIO


def test_a_save_leaves_one_file_and_deletes_partial_files_of_a_kill(tmp_path):
    (tmp_path / ".last.ckpt.abcd1234.partial").write_bytes(b"half")
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "epoch": 3}, tmp_path / "last.ckpt")
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(tmp_path / "last.ckpt")["epoch"] == 3


def test_a_save_that_fails_keeps_the_old_file(tmp_path):
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "epoch": 1}, target)
    with pytest.raises(Exception, match="pickle"):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "bad": lambda: None}, target)
    assert read_checkpoint(target)["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_kill_while_saving_leaves_a_readable_checkpoint(tmp_path):
    code = (
        "import sys, torch; from partoken.training.resume import AtomicCheckpointIO\n"
        "big = {'state_dict': {'w': torch.ones(500_000)}}\n"
        "save = AtomicCheckpointIO().save_checkpoint\n"
        "save(big, sys.argv[1]); print('saved', flush=True)\n"
        "while True: save(big, sys.argv[1])"
    )
    target = tmp_path / "last.ckpt"
    process = subprocess.Popen([sys.executable, "-c", code, target], stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(0.006)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert torch.equal(read_checkpoint(target)["state_dict"]["w"], torch.ones(500_000))


def test_a_worker_ends_with_its_training_at_once():
    """torch's workers look for it every five seconds, and never notice if it was killed while they started."""
    code = (
        "import os, time\n"
        "from partoken.training.resume import ResumableLoader, ResumableSampler\n"
        "class Data:\n"
        "    def __len__(self): return 1\n"
        "    def __getitem__(self, _): return os.getpid()\n"
        "batches = iter(ResumableLoader(Data(), ResumableSampler(1), num_workers=1))\n"
        "print(next(batches), flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 2
    while is_running(worker) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_running(worker)


def is_running(process):
    """Returns whether a process exists and has not ended; one that ended may wait for its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
