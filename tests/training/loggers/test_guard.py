"""Failures of a logger are logged and go no further."""

import pytest

from partoken.training.loggers.guard import Guard


def test_the_first_failure_is_logged_with_the_name_and_the_rest_is_counted(caplog):
    guard = Guard("mine")
    for number in range(3):
        with guard.during("log metrics"):
            raise OSError(f"disk {number}")
    guard.report()
    first, last = [record.getMessage() for record in caplog.records]
    assert "logger.mine failed to log metrics" in first
    assert "OSError: disk 0" in first
    assert "logger.mine failed 3 times" in last


def test_an_interrupt_is_no_failure_of_the_logger():
    with pytest.raises(KeyboardInterrupt), Guard("mine").during("save"):
        raise KeyboardInterrupt
