"""Runs the jobs of a sweep on a Ray cluster; imports ray, an optional package, only when a sweep uses it."""

import logging
import os
import signal
from pathlib import Path
from typing import Any

from partoken.errors import UserError, check_number, check_text
from partoken.sweep.launcher import Command, Task
from partoken.sweep.remote import carry_out, remote_task

__all__ = ["RayLauncher"]

OBJECT_STORE = 100_000_000
"""Bytes of Ray's store on this machine; the jobs return only their exit status."""


class RayLauncher:
    """Starts each job on a machine of a Ray cluster that has cores free. The jobs end with the sweep.

    Arguments:
        command: carries out one run; see `Command`.
        n_jobs: jobs that wait or run at a time.
        threads: threads of each job.
        folder: of the sweep, on a file system that all machines share; the launcher itself needs nothing there.
        address: of the cluster; None: a cluster on this machine, which ends with the sweep.
        cpus_per_task: cores of a job; None: `threads`.
        gpus: GPUs of a job.

    Raises:
        UserError: ray is not installed, there is no cluster, or an argument cannot be used.
    """

    def __init__(
        self,
        command: Command,
        n_jobs: int,
        threads: int,
        folder: Path,
        address: str | None = None,
        cpus_per_task: int | None = None,
        gpus: int = 0,
    ) -> None:
        self.n_jobs = n_jobs
        self._command, self._threads = command, threads
        check_text("launcher.address", address, optional=True)
        check_number("launcher.cpus_per_task", cpus_per_task, minimum=1, whole=True, optional=True)
        check_number("launcher.gpus", gpus, minimum=0, whole=True)
        cpus = cpus_per_task or threads
        self._ray = _connect(address)
        self._check_resources(cpus, gpus)
        self._run = self._ray.remote(carry_out).options(num_cpus=cpus, num_gpus=gpus, max_retries=0)

    def _check_resources(self, cpus: int, gpus: int) -> None:
        """Rejects jobs for which no machine of the cluster is large enough; they would wait for ever."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
            return
        sizes = ", ".join(f"{machine.get('CPU', 0):.0f} and {machine.get('GPU', 0):.0f}" for machine in machines)
        self.close()
        raise UserError(
            f"launcher=ray: a job needs {cpus} cores and {gpus} GPUs, and no machine of the cluster has them (they "
            f"have {sizes}); lower sweep.threads, launcher.cpus_per_task or launcher.gpus"
        )

    def start(self, task: Task) -> "RayHandle":
        sent = remote_task(task, self._command, self._threads)
        return RayHandle(self._ray, self._run.remote(sent, (signal.SIGINT,)))

    def find(self, folder: Path) -> None:
        """No job goes on without its sweep."""

    def close(self) -> None:
        self._ray.shutdown()


class RayHandle:
    """A job of a Ray cluster.

    Arguments:
        ray: the package.
        result: where Ray will put the exit status.
    """

    def __init__(self, ray: Any, result: Any) -> None:
        self.reason: str | None = None
        self._ray, self._result = ray, result

    def poll(self) -> int | None:
        if not self._ray.wait([self._result], timeout=0)[0]:
            return None
        errors = self._ray.exceptions
        try:
            code: int = self._ray.get(self._result)
        except errors.TaskCancelledError:
            self.reason = "the sweep ended it"
            return -signal.SIGTERM
        except errors.RayTaskError as error:
            self.reason = str(error).strip().splitlines()[-1]
            return 1
        except errors.RayError as error:  # the machine or Ray's process on it has ended
            self.reason = str(error).strip().splitlines()[0]
            return -signal.SIGKILL
        return code

    def terminate(self) -> None:
        self._ray.cancel(self._result)  # an interrupt for the process that waits for the job

    def kill(self) -> None:
        self._ray.cancel(self._result, force=True)


def _connect(address: str | None) -> Any:
    """Connects this process with a cluster, or starts one on this machine; returns the package."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report to its makers
    try:
        import ray
    except ImportError:
        raise UserError(
            "launcher=ray needs ray: install it with pip install 'partoken[ray]', in a clone with "
            ".venv/bin/pip install -c constraints.txt -e '.[ray]'"
        ) from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        ray.init(address or "local", **options)
    except (ConnectionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"launcher.address={address}: {reason}; start a cluster with ray start --head") from None
    return ray
