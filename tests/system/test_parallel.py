"""Applying a function to many items in other processes: order, killed processes, scripts without a guard, errors."""

import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

import partoken
from partoken.system.parallel import TASK, TASKS, map_parallel, map_together
from tests.system.functions import process_id, square, square_or_die, squares_or_die


@pytest.mark.parametrize("workers", [0, 2])
def test_results_have_the_order_of_the_items(workers):
    numbers = [n for n in range(30) if n != 7]
    results = list(map_parallel(square, numbers, description="", workers=workers))
    assert results == [n * n for n in numbers]


def test_an_item_that_kills_its_process_gets_the_given_result_and_the_others_their_own():
    numbers = range(2 * TASK * TASKS)  # so many that a process gets several at once
    results = list(map_parallel(square_or_die, numbers, description="", when_killed=lambda n: -n, workers=2))
    assert results == [-n if n in (13, 40) else n * n for n in numbers]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_function_of_several_items_gets_some_at_once_and_gives_a_result_for_each(workers):
    numbers = [n for n in range(2 * TASK * TASKS) if workers or n not in (13, 40)]
    found = list(map_together(squares_or_die, numbers, description="", when_killed=lambda n: (-n, 1), workers=workers))
    assert [result for result, _ in found] == [-n if n in (13, 40) else n * n for n in numbers]
    assert max(size for _, size in found) == TASK


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import math\nfrom partoken.system.parallel import map_parallel\n"
        "print('top')\nprint(sum(map_parallel(math.sqrt, [4.0] * 50, description='', workers=2)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(partoken.__file__).parents[1])}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout == "top\n100.0\n", done.stderr


def test_an_error_of_the_function_is_raised_while_other_items_wait():
    """Python 3.11.2 may wait forever if these are cancelled one by one."""
    for _ in range(3):
        with pytest.raises(ValueError, match="seven"):
            list(map_parallel(square, range(40), description="", workers=2))


def test_a_killed_process_is_an_error_if_no_result_is_given_for_it():
    with pytest.raises(BrokenProcessPool):
        list(map_parallel(square_or_die, [13], description="", workers=2))


def test_few_items_start_no_process():
    assert set(map_parallel(process_id, range(3), description="")) == {os.getpid()}
