"""Ends the training by SIGINT as carefully as by SIGTERM."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

__all__ = ["gentle_interrupt"]


@contextlib.contextmanager
def gentle_interrupt() -> Iterator[list[signal.Signals]]:
    """Makes the first SIGINT end the training of the block after its current batch; a second one ends it at once.

    Lightning ends a training in this way by SIGTERM. At SIGINT it would leave the batch, and exit with status 1. A
    process that ignores SIGINT, such as a job of a sweep, goes on to ignore it.

    Yields:
        The interrupts that were received, at most one.
    """
    received: list[signal.Signals] = []
    before = signal.getsignal(signal.SIGINT)

    def pass_on(number: int, frame: object) -> None:
        received.append(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
        if not callable(signal.getsignal(signal.SIGTERM)):  # the training has not begun yet, or has ended
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield received
        return
    signal.signal(signal.SIGINT, pass_on)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)
