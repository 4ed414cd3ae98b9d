"""Memory and thread settings of a process: a user's settings win, and they are made before torch is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import partoken
from partoken.system.process import prepare_process


def test_a_variable_that_the_user_has_set_keeps_its_value_and_the_others_are_set(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "x")  # monkeypatch restores it afterwards
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    prepare_process()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"


def test_the_command_sets_them_before_torch_is_imported(tmp_path):
    code = """
import os, sys
from partoken import config
seen = []
config.launch(lambda _: seen.append(("torch" in sys.modules, os.environ.get("THP_MEM_ALLOC_ENABLE"))), [])
print(seen)
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("THP_MEM_ALLOC_ENABLE", "GOMP_SPINCOUNT")}
    environment["PYTHONPATH"] = str(Path(partoken.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[(False, '1')]", done.stderr


@pytest.mark.parametrize("command", [["partoken.cli", "train", "--help"], ["partoken.schedule", "train.epochs=9"]])
def test_a_reader_that_ends_early_gives_no_traceback(command):
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert errors == b""


@pytest.mark.parametrize(("is_parent", "status"), [(True, 0), (False, 1)])
def test_a_process_whose_parent_has_ended_before_it_asked_ends_at_once(is_parent, status):
    """The number of a process that has ended stands for a parent that was killed."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    code = "import sys; from partoken.system.process import die_with_parent; die_with_parent(int(sys.argv[1]))"
    parent = os.getpid() if is_parent else ended.pid
    assert subprocess.run([sys.executable, "-c", code, str(parent)]).returncode == status
