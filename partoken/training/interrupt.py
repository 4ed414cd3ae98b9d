"""Ends the training by SIGINT and SIGUSR1 as carefully as by SIGTERM, and puts a job of SLURM back into its queue."""

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping

__all__ = ["gentle_signals", "requeue"]

log = logging.getLogger(__name__)

PASSED_ON = (signal.SIGINT, signal.SIGUSR1)
"""Signals that end a training as SIGTERM does; SLURM may send the second before a time limit."""


@contextlib.contextmanager
def gentle_signals() -> Iterator[list[signal.Signals]]:
    """Makes the first SIGINT or SIGUSR1 end the training of the block after its current batch, with a checkpoint.

    A second SIGINT ends it at once. Lightning ends a training in this way by SIGTERM. At SIGINT it would leave the
    batch, and exit with status 1. A process that ignores SIGINT, such as a job of a sweep, goes on to ignore it.

    Yields:
        The signals that were received.
    """
    received: list[signal.Signals] = []
    before = {number: signal.getsignal(number) for number in PASSED_ON}

    def pass_on(number: int, frame: object) -> None:
        received.append(signal.Signals(number))
        signal.signal(number, before[signal.Signals(number)] if number == signal.SIGINT else signal.SIG_IGN)
        if not callable(signal.getsignal(signal.SIGTERM)):  # the training has not begun yet, or has ended
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    for number in PASSED_ON:
        if before[number] in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, pass_on)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def requeue(environment: Mapping[str, str]) -> None:
    """Asks SLURM to start the job of this process again, and logs the answer.

    Arguments:
        environment: variables of the process; without SLURM's there is no job, and nothing happens.

    See also:
        https://slurm.schedmd.com/scontrol.html#OPT_requeue
    """
    job = environment.get("SLURM_JOB_ID")
    if not job:
        return
    if "SLURM_ARRAY_JOB_ID" in environment and "SLURM_ARRAY_TASK_ID" in environment:
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    try:
        asked = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        answer = asked.stderr.strip() if asked.returncode else ""
    except OSError as error:
        answer = f"scontrol: {error.strerror}"
    if answer:
        log.warning("SLURM did not put job %s back into its queue (%s); start it again yourself", job, answer)
    else:
        log.info("SLURM starts job %s again", job)
