"""Memory and thread settings of a process that trains or predicts, applied before torch is imported.

`python benchmarks/training_step.py` measures a training step with these settings; docs/performance.md has the figures.
"""

import ctypes
import os
import resource
import signal
import sys
import time

__all__ = ["die_with_parent", "discard_output", "peak_memory", "prepare_process", "process_age", "say_interrupted"]
__all__ += ["thread_variables"]

_MALLOPT = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 1 << 30),
}
"""Environment variable of glibc: number of the option in malloc.h, our value (a count or bytes)."""


_PR_SET_PDEATHSIG = 1


def prepare_process() -> None:
    """Sets memory and thread options that make training on a CPU faster.

    A variable that the user has set keeps its value.

    - `THP_MEM_ALLOC_ENABLE=1`: torch puts large tensors into huge pages, which makes page faults ten times rarer.
    - `GOMP_SPINCOUNT=1000`: a waiting thread soon frees its core. A run that has the machine to itself becomes up to a
      fifth slower; two runs that share cores become at least twice as fast.
    - `MALLOC_ARENA_MAX=1`, with glibc: all threads share one heap, because a heap per thread keeps its freed memory.
    - `MALLOC_TRIM_THRESHOLD_`, with glibc: the heap keeps up to 1 GiB of freed memory for the next step.
    - `MALLOC_MMAP_THRESHOLD_`, with glibc: blocks above 32 MiB stay outside the heap, so peak memory does not grow.

    See also:
        https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if os.name != "posix":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for variable, (option, value) in _MALLOPT.items():
        if variable not in os.environ:
            mallopt(option, value)


def thread_variables(threads: int) -> dict[str, str]:
    """Returns the environment variables that set the threads of a process, if they are set before it imports torch."""
    return {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def die_with_parent(parent: int | None = None) -> None:
    """Makes the system kill this process as soon as its parent process has ended, where it can do so.

    Arguments:
        parent: number of the parent process. If that has ended before this call, the process ends at once. None: the
            parent cannot have ended yet.

    See also:
        https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if os.name == "posix" else None
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def discard_output() -> int:
    """Discards further output after a BrokenPipeError, because its reader, such as `head`, has ended.

    Returns:
        The exit status of a command whose output was cut off, 1.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def say_interrupted() -> int:
    """Says that the user has interrupted a command, and returns its exit status, 130 as shells have it."""
    print("stopped by SIGINT", file=sys.stderr)
    return 128 + signal.SIGINT


def process_age() -> float:
    """Returns the seconds since this process was started, from Linux's `/proc`."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()  # the name before the bracket may contain spaces
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def peak_memory() -> int:
    """Returns the highest resident memory of this process so far, in bytes; its children are not counted."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
