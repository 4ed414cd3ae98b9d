import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import partoken
from partoken.system.parallel import map_parallel


def square_or_die(number: int) -> int:
    if number in (13, 40):
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def square(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return number * number


@pytest.mark.parametrize("workers", [0, 2])
def test_results_keep_their_order(workers):
    numbers = [n for n in range(30) if n != 7]
    found = list(map_parallel(square, numbers, description="", workers=workers))
    assert found == [n * n for n in numbers]


def test_an_item_that_kills_its_process_is_named_and_the_others_go_on():
    found = list(map_parallel(square_or_die, range(50), description="", when_killed=lambda n: -n, workers=2))
    assert found == [-n if n in (13, 40) else n * n for n in range(50)]


def test_a_script_without_a_guard_is_not_run_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import math\nfrom partoken.system.parallel import map_parallel\n"
        "print('top')\nprint(sum(map_parallel(math.sqrt, [4.0] * 50, description='', workers=2)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(partoken.__file__).parents[1])}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout == "top\n100.0\n", done.stderr


def test_errors_come_through():
    with pytest.raises(ValueError, match="seven"):
        list(map_parallel(square, range(10), description="", workers=2))
