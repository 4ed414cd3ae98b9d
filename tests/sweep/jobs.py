"""Starts and watches fake runs as the runner of a sweep does."""

import time

from partoken.sweep.launcher import Task
from partoken.system.run_status import read_status

SECONDS = 60


def task(folder, do="finish", number=0):
    """Returns a job in a new run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return Task(number, [f"do={do}", f"hydra.run.dir={folder}"], folder, quiet=True, own_command=False)


def until(condition):
    """Waits until a condition is true, and returns its value."""
    end = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, "the condition was never true"
        time.sleep(0.02)
    return value


def is_running(folder):
    return read_status(folder).status == "running"


def exit_status(handle):
    """Waits for the end of a job."""
    ended = []
    until(lambda: ended.append(handle.poll()) or ended[-1] is not None)
    return ended[-1]


def is_alive(process):
    """Whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
