"""Data that must not be read."""

from typing import Any


class Unread:
    """Can be created as a data module, and fails if anything is asked of it."""

    def __init__(self, **loading: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} of the data was asked for")
