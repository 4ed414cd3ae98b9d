"""Runs the jobs of a sweep on this machine, each in a process of its own."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from partoken.sweep.launcher import GOOD, Command, Task
from partoken.system.process import die_with_parent, prepare_process, thread_variables
from partoken.system.run_status import read_status

__all__ = ["LocalLauncher", "end_with_sweep", "job_server", "run_task", "use_threads"]

PRELOADED = ["partoken.training.engine", "partoken.report", "partoken.sweep.local"]
"""Modules that are imported once for all jobs; torch takes seconds."""


class LocalLauncher:
    """Starts each job as a fork of a server process that has imported torch and has done nothing else.

    The jobs die with the sweep, also if it is killed.

    Arguments:
        command: carries out one run; see `Command`.
        n_jobs: jobs at a time.
        threads: threads of each job.
        folder: of the sweep; it needs nothing there.
    """

    def __init__(self, command: Command, n_jobs: int, threads: int, folder: Path | None = None) -> None:
        self.n_jobs = n_jobs
        cores = len(os.sched_getaffinity(0))
        if n_jobs > 1 and n_jobs * threads > cores:
            print(
                f"warning: n_jobs={n_jobs} with sweep.threads={threads} share {cores} cores, so each job takes longer",
                file=sys.stderr,
            )
        self._command = command
        use_threads(threads)
        self._context = job_server()

    def start(self, task: Task) -> "LocalHandle":
        process = self._context.Process(
            target=run_task, args=(task, self._command, sys.argv[0]), name=f"job {task.number}"
        )
        process.start()
        return LocalHandle(process)

    def find(self, folder: Path) -> None:
        """No job goes on without its sweep."""

    def close(self) -> None:
        """The server process ends with this one."""


class LocalHandle:
    """A job in a process of this machine."""

    reason = None

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    def poll(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def job_server() -> ForkServerContext:
    """Returns what forks processes from a server process that has imported torch; the server starts when needed."""
    prepare_process()
    context = multiprocessing.get_context("forkserver")
    assert isinstance(context, ForkServerContext)
    context.set_forkserver_preload(PRELOADED)
    return context


def use_threads(threads: int) -> None:
    """Sets the threads of the processes that this one starts; torch must not have been imported yet."""
    os.environ.update(thread_variables(threads))


def run_task(task: Task, command: Command, program: str) -> None:
    """Carries out a job in the current process and exits with its status.

    Arguments:
        task: the job.
        command: carries out one run.
        program: the command that the user has typed, for messages.
    """
    threading.Thread(target=end_with_sweep, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep asks its jobs to end
    if task.quiet:
        output = os.open(task.folder / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
    sys.stdout.flush()
    if read_status(task.folder).status in GOOD:
        return  # another process was faster
    if task.own_command:
        sys.exit(_run_command([sys.executable, "-m", "partoken.cli", "train", *task.arguments]))
    sys.argv[:] = [program, *task.arguments]
    sys.exit(command(task.arguments))


def end_with_sweep() -> None:
    """Kills this process as soon as the process of the sweep has ended, also if it was killed.

    The system could only watch the server process, and that one lives until its last job has ended.
    """
    sweep = multiprocessing.parent_process()
    if sweep is not None:
        sweep.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _run_command(words: list[str]) -> int:
    """Runs a command that ends with this process; returns its exit status."""
    process = subprocess.Popen(words, preexec_fn=die_with_parent)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    return code if code >= 0 else 128 - code
