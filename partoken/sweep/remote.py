"""A job of a sweep in a process that a scheduler starts, perhaps on another machine; imports no torch.

All machines need the same file system, with the folder of the sweep and this package under the same paths.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from partoken.sweep.launcher import GOOD, Command, Task, resume_override
from partoken.system.process import die_with_parent, thread_variables
from partoken.system.run_status import read_status

__all__ = ["RemoteTask", "carry_out", "remote_task"]

POLL_SECONDS = 0.2

PROGRAM = """\
import signal, sys
from partoken.system.process import die_with_parent
die_with_parent()
signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM may send it to all processes of a job
from {module} import {name}
sys.exit({name}(sys.argv[1:]))
"""
"""Carries out one run in a fresh process."""

SRUN_HINT = "ignore:The `srun` command is available"
"""Lightning's advice to start each process with `srun`."""


@dataclass(frozen=True)
class RemoteTask:
    """A job with everything that another machine needs to know; it can be pickled."""

    words: Sequence[str]
    """Arguments of Python: the program, then the arguments of the run."""
    folder: Path
    """The run folder, absolute."""
    directory: Path
    """The folder in which the user has started the sweep; paths in overrides are relative to it."""
    threads: int
    """Threads of the job."""
    sweep: int | None
    """Number of the sweep's process, if the job ends with it and runs on its machine."""


def remote_task(task: Task, command: Command, threads: int, *, ends_with_sweep: bool = False) -> RemoteTask:
    """Returns a job for another machine.

    Arguments:
        task: the job.
        command: carries out one run; a function at the top level of a module.
        threads: of the job.
        ends_with_sweep: the job runs on this machine and ends as soon as this process does.
    """
    spec = sys.modules[command.__module__].__spec__  # its name is right also for `python -m partoken.cli`
    assert spec is not None
    program = PROGRAM.format(module=spec.name, name=command.__name__)
    return RemoteTask(
        words=["-c", program, *task.arguments],
        folder=task.folder.resolve(),
        directory=Path.cwd(),
        threads=threads,
        sweep=os.getpid() if ends_with_sweep else None,
    )


def carry_out(task: RemoteTask, forwarded: Sequence[signal.Signals] = ()) -> int:
    """Carries out a job in a fresh process and waits for it; the process ends when this one does.

    A finished job is not run again, and an interrupted one continues, because a scheduler may start a job a second time
    on its own, for example after a failure of the machine.

    Arguments:
        task: the job.
        forwarded: signals that make the job end after its current batch.

    Returns:
        Its exit status, negative for a signal.
    """
    if task.sweep is not None:
        die_with_parent()
    if read_status(task.folder).status in GOOD:
        return 0
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(open(task.folder / "output.log", "ab"))
        is_over = stack.enter_context(_watch(task.sweep))
        with _Forwarding(forwarded) as forwarding:
            process = subprocess.Popen(
                [sys.executable, *task.words, *resume_override(task.folder)],
                cwd=task.directory,
                env=_environment(task.threads),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            while (code := process.poll()) is None:
                if forwarding.is_asked():
                    process.terminate()
                if is_over():
                    process.kill()
                time.sleep(POLL_SECONDS)
    return code


class _Forwarding:
    """Takes note of signals during a block, also of those that this process ignored before.

    Arguments:
        signals: to take note of; other handlers of this process are left alone.
    """

    def __init__(self, signals: Sequence[signal.Signals]) -> None:
        self._signals = signals
        self._before: dict[signal.Signals, Any] = {}
        self._asked = False

    def __enter__(self) -> "_Forwarding":
        self._before = {number: signal.signal(number, self._take) for number in self._signals}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def is_asked(self) -> bool:
        """Returns whether a signal has come since the last call."""
        asked, self._asked = self._asked, False
        return asked


@contextlib.contextmanager
def _watch(process: int | None) -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether a process of this machine has ended; without a process, it has not."""
    if process is None:
        yield lambda: False
        return
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        yield lambda: True
        return
    try:
        yield lambda: bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


def _environment(threads: int) -> dict[str, str]:
    """Returns the variables of a job."""
    variables = {**os.environ, **thread_variables(threads)}
    package = str(Path(__file__).resolve().parents[2])
    if package != sysconfig.get_path("purelib"):  # a clone that may not be installed
        variables["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    if "SLURM_JOB_ID" in variables:
        # Lightning then starts the processes of further devices itself, and leaves requeueing to SLURM.
        variables["SLURM_JOB_NAME"] = "interactive"
        variables["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), SRUN_HINT]))
    return variables
