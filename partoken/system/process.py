"""What a process that trains or predicts sets for itself, before torch is imported; figures are in the README.

python benchmarks/training_step.py      measures with it, both forms alike
"""

import ctypes
import os

__all__ = ["prepare_process"]

# Options of glibc's mallopt (malloc.h), each with the variable that sets it from outside and our value.
_MALLOPT = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 1 << 30),
}


def prepare_process() -> None:
    """Sets what pays on a CPU; a variable that is set already stays as it is.

    - `THP_MEM_ALLOC_ENABLE`: large tensors lie in huge pages. Page faults fall by a factor of ten.
    - `GOMP_SPINCOUNT`: a thread that waits for others gives its core up soon. Alone that costs up to a fifth; two runs
      that share cores are at least twice as fast with it.
    - glibc only: one heap for all threads, for heaps of their own keep what they free; and a heap that is not given
      back while less than 1 GiB of it is free, only to be asked for again in the next step. What is larger than 32 MiB
      lies outside of it, so that the peak stays where it was.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    for variable, (option, value) in _MALLOPT.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(option, value)
