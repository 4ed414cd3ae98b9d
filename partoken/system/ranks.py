"""The processes of one run on several devices that torchrun or SLURM's srun has started; imports no torch at first.

Without these, Lightning starts the further processes of a run itself, and tells them the run folder.
"""

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from partoken.errors import UserError

__all__ = ["Started", "is_further_process", "start_of_run", "started_by"]

_KEY = "partoken/start"
_kept: list[object] = []
"""Objects that have to live as long as the process: the first process may serve the store to the others."""


@dataclass(frozen=True)
class Started:
    """How the processes of a run were started."""

    program: str
    """`torchrun` or `srun`."""
    rank: int
    """Number of this process among those of all machines."""
    num_processes: int
    """Processes on all machines."""


def started_by(environment: Mapping[str, str] = os.environ) -> Started | None:
    """Returns how several processes of this run were started; None: this process was started alone.

    Arguments:
        environment: the variables that torchrun and srun set.

    >>> started_by({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"})
    Started(program='srun', rank=3, num_processes=4)
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return Started("torchrun", int(environment["RANK"]), int(environment["WORLD_SIZE"]))
    num_tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if num_tasks > 1:
        return Started("srun", int(environment["SLURM_PROCID"]), num_tasks)
    return None


def is_further_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns whether another process of the same run writes the run folder; Lightning sets `LOCAL_RANK` too."""
    started = started_by(environment)
    return started.rank > 0 if started else int(environment.get("LOCAL_RANK", 0)) > 0


def start_of_run() -> tuple[float, str]:
    """Returns the time at which the run was started, in seconds, and a name that is random, for the run folder.

    All processes of a run have the same. torchrun has a store that its processes share; with srun the job tells them. A
    process that was started alone gets new ones with each call.

    Raises:
        UserError: SLURM does not tell when the job was started.
    """
    started = started_by()
    if started is None:
        return time.time(), secrets.token_hex(3)
    return _from_slurm(os.environ) if started.program == "srun" else _from_store(started)


def _from_slurm(environment: Mapping[str, str]) -> tuple[float, str]:
    if "SLURM_JOB_START_TIME" not in environment:
        raise UserError(
            "srun has started several processes, which cannot agree on a run folder, because this version of SLURM "
            "does not set SLURM_JOB_START_TIME: choose one with hydra.run.dir=FOLDER"
        )
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
    numbers = [environment[name] for name in names if name in environment]
    return float(environment["SLURM_JOB_START_TIME"]), "-".join(numbers)


@cache
def _from_store(started: Started) -> tuple[float, str]:
    from torch.distributed import rendezvous

    store, _, _ = next(rendezvous("env://"))
    _kept.append(store)
    key = f"{_KEY}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    if started.rank == 0:
        store.set(key, f"{time.time()} {secrets.token_hex(3)}")
    seconds, name = store.get(key).decode().split()  # waits for the first process
    if store.add(f"{key}/read", 1) == started.num_processes:
        store.set(f"{key}/all", "")
    if started.rank == 0:
        store.wait([f"{key}/all"])  # the store may end with this process, so it must not end before all have read
    return float(seconds), name
