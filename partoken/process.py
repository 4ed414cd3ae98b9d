"""What a process that trains or predicts sets for itself, before torch is imported; figures are in the README.

python benchmarks/training_step.py      measures with it, both forms alike
"""

import ctypes
import os

__all__ = ["prepare_process"]

_M_ARENA_MAX = -8


def prepare_process() -> None:
    """Sets what pays on a CPU; a variable that is set already stays as it is.

    - `THP_MEM_ALLOC_ENABLE`: large tensors lie in huge pages. Page faults fall by a factor of ten.
    - `GOMP_SPINCOUNT`: a thread that waits for others gives its core up soon. Alone that costs up to a fifth; two runs
      that share cores are at least twice as fast with it.
    - One heap for all threads (glibc only): heaps of their own keep what they free.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, 1)
