"""Applies a function to many items on all cores: results in order, little memory, and items may kill a process."""

import contextlib
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain
from types import ModuleType
from typing import Any, TypeVar

from tqdm import tqdm

__all__ = ["map_parallel", "map_together", "run_apart"]

Item = TypeVar("Item")
Result = TypeVar("Result")

FEW = 500
"""Below this number of items of about a millisecond each, starting processes takes longer than it saves."""
TASK = 8
"""Items that a process gets at once, at most: handing over one takes half as long as reading a small file."""
TASKS = 16
"""Tasks per worker, at least, as far as there are items: so the workers end at about the same time."""
AHEAD = 4
"""Tasks per worker that are submitted before the first result is taken."""

_idle: list[ProcessPoolExecutor] = []
"""Processes of `run_apart` that wait for another call."""


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

    At most `AHEAD * TASK` results per worker wait to be taken, so memory does not grow with the number of items. Shows
    a progress bar on a terminal.

    Arguments:
        function: a function at the top level of a module, because it is pickled.
        items: its arguments.
        description: label of the progress bar.
        when_killed: returns the result for an item whose process died; None raises instead.
        workers: number of processes; 0 and 1 work in this process. None uses every available core, or this process
            for fewer items than `few`.
        few: see `workers`.

    Raises:
        BrokenProcessPool: a process died and `when_killed` is None.
        Exception: any error of `function`.
    """
    return map_together(
        partial(_each, function), items, description=description, when_killed=when_killed, workers=workers, few=few
    )


def map_together(
    function: Callable[[Sequence[Item]], Iterable[Result]],
    items: Sequence[Item],
    *,
    description: str,
    when_killed: Callable[[Item], Result] | None = None,
    workers: int | None = None,
    few: int = FEW,
) -> Iterator[Result]:
    """Yields the results of a function that takes up to `TASK` items at once and gives one result for each.

    Otherwise as `map_parallel`.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if len(items) >= few else 0
    if workers <= 1:
        tasks = (items[start : start + TASK] for start in range(0, len(items), TASK))
        results: Iterator[Result] = chain.from_iterable(map(function, tasks))
    else:
        results = _pooled(function, items, when_killed, workers)
    yield from tqdm(results, description, len(items), disable=not sys.stderr.isatty(), leave=False)


def run_apart(function: Callable[[Item], Result], item: Item) -> Result:
    """Returns `function(item)`, computed in a process of its own that later calls share.

    It is meant for libraries that end the process at a bad input; the next call then starts another process.

    Arguments:
        function: a function at the top level of a module, because it is pickled.
        item: its argument.

    Raises:
        BrokenProcessPool: the process died.
        Exception: any error of `function`.
    """
    pool = _idle.pop() if _idle else ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with _no_main():
        future = pool.submit(function, item)
    try:
        return future.result()
    finally:
        if future.done() and not isinstance(future.exception(), BrokenProcessPool):
            _idle.append(pool)
        else:
            pool.shutdown(wait=False)


def _pooled(
    function: Callable[[Sequence[Item]], Iterable[Result]],
    items: Sequence[Item],
    when_killed: Callable[[Item], Result] | None,
    workers: int,
) -> Iterator[Result]:
    size = min(max(len(items) // (TASKS * workers), 1), TASK)
    tasks = [items[start : start + size] for start in range(0, len(items), size)]
    position = 0
    while position < len(tasks):
        try:
            for results in _until_broken(function, tasks[position:], workers):
                position += 1
                yield from results
        except BrokenProcessPool:
            # The pool does not say which task killed a process: run each submitted one in a process of its own.
            for task in tasks[position : position + AHEAD * workers]:
                yield from _alone(function, task, when_killed)
                position += 1


def _alone(
    function: Callable[[Sequence[Item]], Iterable[Result]],
    task: Sequence[Item],
    when_killed: Callable[[Item], Result] | None,
) -> Iterator[Result]:
    """Yields the results of a task from a process of its own; if the process dies, each item gets one."""
    try:
        yield from next(_until_broken(function, [task], 1))
    except BrokenProcessPool:
        if len(task) > 1:
            for item in task:
                yield from _alone(function, [item], when_killed)
        elif when_killed is None:
            raise
        else:
            yield when_killed(task[0])


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    return map(function, items)


def _all(function: Callable[[Sequence[Item]], Iterable[Result]], items: Sequence[Item]) -> list[Result]:
    return list(function(items))


def _until_broken(
    function: Callable[[Sequence[Item]], Iterable[Result]], tasks: Sequence[Sequence[Item]], workers: int
) -> Iterator[list[Result]]:
    """Yields the results of each task, until a process dies."""
    # "fork" can deadlock, because torch has started threads.
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Any]] = deque()
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for task in tasks:
                with _no_main():
                    waiting.append(pool.submit(_all, function, task))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)  # Python 3.11.2 can hang if the futures are cancelled one by one


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Hides the running script from new processes.

    A spawned process runs the main script again, with all its imports, and without end if the script has no
    `if __name__ == "__main__"`. The functions given to `map_parallel` are in modules and do not need the script.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
