"""A function applied to many items by all cores, in order, in little memory, and past items that kill a process."""

import contextlib
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import ModuleType
from typing import Any, TypeVar

from tqdm import tqdm

__all__ = ["map_parallel"]

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW = 500
"""Items, of a millisecond or so each, that are not worth the start of processes."""


def map_parallel(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    description: str,
    when_killed: Callable[[Item], Result] | None = None,
    workers: int | None = None,
    few: int = FEW,
) -> Iterator[Result]:
    """Yields `function(item)` for each item, in order.

    At most a few results a worker wait to be taken, so that memory does not grow with the number of items. A progress
    bar is shown on a terminal.

    Arguments:
        function: of a module, so that it can be sent to another process.
        items: what it is applied to.
        description: of the progress bar.
        when_killed: gives the result for an item on which the process died; None raises.
        workers: processes; None takes as many as the machine lets us use, for fewer items than `few` none.
        few: items that are not worth the start of processes.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if len(items) >= few else 0
    results = map(function, items) if workers <= 1 else _pooled(function, items, when_killed, workers)
    yield from tqdm(results, description, len(items), disable=not sys.stderr.isatty(), leave=False)


def _pooled(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    when_killed: Callable[[Item], Result] | None,
    workers: int,
) -> Iterator[Result]:
    position = 0
    while position < len(items):
        try:
            for result in _until_broken(function, items[position:], workers):
                position += 1
                yield result
        except BrokenProcessPool:
            # One of the items under way did it; each is tried alone, the guilty one is named, and all go on.
            for item in items[position : position + _ahead(workers)]:
                try:
                    result = next(_until_broken(function, [item], 1))
                except BrokenProcessPool:
                    if when_killed is None:
                        raise
                    result = when_killed(item)
                position += 1
                yield result


def _until_broken(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    # Not forked: a fork of a process with threads, as torch makes them, may wait for ever.
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Any]] = deque()
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for item in items:
                with _no_main():
                    waiting.append(pool.submit(function, item))
                if len(waiting) >= _ahead(workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Hides the script that is running from the processes that start.

    They would run it again from its top, with all that it imports, and for ever if it has no guard. Our functions are
    in modules and need none of it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _ahead(workers: int) -> int:
    return 8 * workers
