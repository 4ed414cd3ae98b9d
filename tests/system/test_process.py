import os
import subprocess
import sys

from partoken.system.process import prepare_process


def test_what_the_user_set_stays_and_the_rest_is_set(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "x")  # so that it is put back afterwards
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    prepare_process()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"


def test_the_command_sets_it_before_torch_is_there():
    code = """
import os, sys
from partoken import config
seen = []
config.launch(lambda: seen.append(("torch" in sys.modules, os.environ.get("THP_MEM_ALLOC_ENABLE"))))
print(seen)
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("THP_MEM_ALLOC_ENABLE", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[(False, '1')]", done.stderr
