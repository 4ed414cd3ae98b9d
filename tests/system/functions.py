"""Functions for other processes, in a module that a process imports quickly."""

import os
import signal
from collections.abc import Sequence


def square(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return number * number


def square_or_die(number: int) -> int:
    if number in (13, 40):
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def squares_or_die(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the square of each number, and how many numbers came at once."""
    return [(square_or_die(number), len(numbers)) for number in numbers]


def process_id(_: int) -> int:
    return os.getpid()
