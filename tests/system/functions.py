"""Functions for other processes, in a module that a process imports quickly."""

import os
import signal


def square(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return number * number


def square_or_die(number: int) -> int:
    if number in (13, 40):
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def process_id(_: int) -> int:
    return os.getpid()
