"""Keeps failures of a logger away from the run."""

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["Guard"]

log = logging.getLogger(__name__)


class Guard:
    """Catches what a logger raises, so that training and results do not depend on it.

    The first failure of a logger is logged as a warning, and the number of all failures at the end.

    Arguments:
        name: of the logger in the configuration.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failures = 0

    @contextlib.contextmanager
    def during(self, action: str) -> Iterator[None]:
        """Catches errors of the block.

        Arguments:
            action: what the logger does in the block, for the message.
        """
        try:
            yield
        except Exception as error:
            self.failures += 1
            if self.failures == 1:
                cause = f"{type(error).__name__}: {error}"
                log.warning("logger.%s failed to %s, the run goes on without: %s", self.name, action, cause)

    def report(self) -> None:
        """Logs how often the logger failed, if it was more than once."""
        if self.failures > 1:
            log.warning("logger.%s failed %d times; its record is incomplete", self.name, self.failures)
