"""Claims of jobs, so that several processes can share the work of one sweep."""

import contextlib

from partoken.sweep.record import Numbered
from partoken.system.locks import is_locked, process_lock

__all__ = ["Claims"]

FILE = ".claim"
"""File in the folder of a job; the process of the sweep that runs the job holds its lock."""


class Claims:
    """The jobs that this process has claimed. The claims of a process that is killed are free at once."""

    def __init__(self) -> None:
        self._held: dict[int, contextlib.ExitStack] = {}

    def take(self, job: Numbered) -> bool:
        """Claims a job; False if another process has it."""
        assert job.number not in self._held
        job.folder.mkdir(parents=True, exist_ok=True)
        path = job.folder / FILE
        if is_locked(path):
            return False
        claim = contextlib.ExitStack()
        if not claim.enter_context(process_lock(path)):
            claim.close()
            return False
        self._held[job.number] = claim
        return True

    def release(self, job: Numbered) -> None:
        """Gives a job back, if this process has claimed it."""
        if job.number in self._held:
            self._held.pop(job.number).close()
