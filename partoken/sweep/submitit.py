"""Runs the jobs of a sweep under SLURM; imports submitit, an optional package, only when a sweep uses it."""

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.errors import UserError, check_choice, check_number
from partoken.sweep.launcher import GOOD, Command, Task
from partoken.sweep.remote import carry_out, remote_task
from partoken.system.files import write_json
from partoken.system.run_status import read_status

__all__ = ["SubmititLauncher"]

LOGS = "submitit"
"""Folder of submitit's own files, in the folder of the sweep."""
FILE = "submitit.json"
"""In a run folder: which job of SLURM it is."""
FORWARDED = (signal.SIGTERM, signal.SIGUSR2)
"""SLURM sends the first before it ends a job; submitit asks it to send the second before the time limit."""

POLL_SECONDS = 2.0
"""Seconds between two looks at a job."""
PATIENCE = 60.0
"""Seconds for which a shared file system may show an older state of a folder."""
NOT_INTERRUPTED = ("COMPLETED", "FAILED", "BOOT_FAIL")
"""Last states of a SLURM job whose program has ended by itself, or could not start."""


class SubmititLauncher:
    """Submits each job to SLURM; without SLURM, starts it on this machine, to try it.

    Under SLURM the jobs go on if the process of the sweep is killed, and the sweep finds them when it is started again.
    On this machine they end with it.

    Arguments:
        command: carries out one run; see `Command`.
        n_jobs: jobs that wait or run at a time.
        threads: threads of each job.
        folder: of the sweep; on a file system that all machines share.
        executor: "slurm", "local", or "auto": SLURM if this machine has it.
        timeout_min: time limit of a job, in minutes; a job that needs longer is interrupted.
        cpus_per_task: cores of a job; None: `threads`.
        gpus: GPUs of a job.
        mem_gb: memory of a job, in GB; None: as the cluster has it.
        partition: of the cluster; None: its default.
        slurm: further options of `sbatch` under submitit's names, such as `account`.
        setup: lines of shell that a job runs first.

    Raises:
        UserError: submitit is not installed, there is no SLURM, or an argument cannot be used.
    """

    def __init__(
        self,
        command: Command,
        n_jobs: int,
        threads: int,
        folder: Path,
        executor: str = "auto",
        timeout_min: int = 240,
        cpus_per_task: int | None = None,
        gpus: int = 0,
        mem_gb: float | None = None,
        partition: str | None = None,
        slurm: Mapping[str, Any] | None = None,
        setup: Sequence[str] = (),
    ) -> None:
        self.n_jobs = n_jobs
        self._command, self._threads = command, threads
        check_choice("launcher.executor", executor, ("auto", "slurm", "local"))
        check_number("launcher.timeout_min", timeout_min, minimum=1, whole=True)
        check_number("launcher.cpus_per_task", cpus_per_task, minimum=1, whole=True, optional=True)
        check_number("launcher.gpus", gpus, minimum=0, whole=True)
        check_number("launcher.mem_gb", mem_gb, above=0, optional=True)
        has_slurm = shutil.which("srun") is not None
        if executor == "slurm" and not has_slurm:
            raise UserError("launcher.executor=slurm: this machine has no srun; start the sweep where SLURM is")
        self._is_local = executor == "local" or not has_slurm
        of_slurm = {"partition": partition, "slurm": slurm, "setup": setup, "mem_gb": mem_gb}
        if self._is_local and (ignored := [name for name, value in of_slurm.items() if value]):
            raise UserError(f"launcher.{ignored[0]} needs SLURM, and the jobs would run on this machine; leave it out")
        self._executor = self._create(
            folder,
            {
                "name": "partoken",
                "timeout_min": timeout_min,
                "cpus_per_task": cpus_per_task or threads,
                "gpus_per_node": gpus or None,
                "mem_gb": mem_gb,
            },
            {"partition": partition, **(slurm or {}), **({"setup": list(setup)} if setup else {})},
        )

    def _create(self, folder: Path, parameters: Mapping[str, Any], slurm: Mapping[str, Any]) -> Any:
        """Returns submitit's executor."""
        try:
            import submitit
        except ImportError:
            raise UserError(
                "launcher=submitit needs submitit: install it with pip install 'partoken[submitit]', in a clone with "
                ".venv/bin/pip install -c constraints.txt -e '.[submitit]'"
            ) from None
        executor = submitit.AutoExecutor(folder / LOGS, "local" if self._is_local else "slurm")
        try:
            executor.update_parameters(
                **parameters, **{f"slurm_{name}": value for name, value in slurm.items() if value is not None}
            )
        except (AssertionError, NameError, TypeError, ValueError) as error:
            raise UserError(f"launcher.slurm: {str(error).splitlines()[0]}") from None
        return executor

    def start(self, task: Task) -> "SubmititHandle":
        sent = remote_task(task, self._command, self._threads, ends_with_sweep=self._is_local)
        with _no_interrupts():
            job = self._executor.submit(carry_out, sent, FORWARDED)
        if not self._is_local:
            write_json(task.folder / FILE, {"job": job.job_id})
        return SubmititHandle(job, task.folder, self._is_local)

    def find(self, folder: Path) -> "SubmititHandle | None":
        if self._is_local:
            return None
        import submitit

        try:
            number = json.loads((folder / FILE).read_text())["job"]
        except FileNotFoundError:
            return None
        job: Any = submitit.SlurmJob(self._executor.folder, number)
        if job.done(force_check=True) or job.state == "UNKNOWN":
            return None
        return SubmititHandle(job, folder, is_local=False)

    def close(self) -> None:
        """There is nothing to free."""


class SubmititHandle:
    """A job that submitit has started.

    Arguments:
        job: of submitit.
        folder: the run folder.
        is_local: it runs on this machine.
    """

    def __init__(self, job: Any, folder: Path, is_local: bool) -> None:
        self.reason: str | None = None
        self._job, self._folder, self._is_local = job, folder, is_local
        self._next_look = 0.0
        self._ended: float | None = None
        self._is_cancelled = False

    def poll(self) -> int | None:
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + (0 if self._is_local else POLL_SECONDS)
        if not self._job.done(force_check=self._is_cancelled):
            return None
        self._ended = now if self._ended is None else self._ended
        may_be_old = not self._is_local and now < self._ended + PATIENCE
        if self._job.paths.result_pickle.exists():
            return self._result(may_be_old)
        if may_be_old and self._job.state == "COMPLETED":
            return None
        log = f"see {self._job.paths.stderr}"
        if self._is_local:
            self.reason = f"its process was killed; {log}"
            return -signal.SIGKILL
        state = self._job.state
        self.reason = f"SLURM job {self._job.job_id} ended as {state}; {log}"
        return 1 if state.split()[0] in NOT_INTERRUPTED else -signal.SIGKILL

    def _result(self, may_be_old: bool) -> int | None:
        """Returns the exit status that the job has returned."""
        error = self._job.exception()
        if error is not None:
            trace = str(error).split("-" * 22)[1].strip().splitlines()  # between two lines of submitit's
            self.reason = f"{trace[-1]}; see {self._job.paths.stderr}"
            return 1
        code: int = self._job.result()
        if code == 0 and may_be_old and read_status(self._folder).status not in GOOD:
            return None
        return code

    def terminate(self) -> None:
        self._is_cancelled = True
        if self._is_local:
            self._signal(signal.SIGTERM)
        else:
            self._job.cancel(check=False)

    def kill(self) -> None:
        if self._is_local:
            self._signal(signal.SIGKILL)
        else:
            self._job.cancel(check=False)

    def _signal(self, number: signal.Signals) -> None:
        """Sends a signal to submitit's process on this machine, which passes it on or dies with the job."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self._job.job_id), number)


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Blocks interrupts during the block, also in processes that are started in it: the sweep asks its jobs to end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
