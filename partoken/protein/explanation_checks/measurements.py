"""The values that the checks of one run collect: for tables, and for each chain."""

from collections.abc import Mapping
from typing import Any

__all__ = ["Measurements"]


class Measurements:
    """Creates an empty collection."""

    def __init__(self) -> None:
        self.checks: dict[str, dict[str, dict[str, list[float]]]] = {}
        """By check, row and column of its table: a value for each chain."""
        self.chains: dict[str, dict[str, Any]] = {}
        """By id of the chain: the cells of its row in `explain.csv`."""

    def add(self, check: str, row: str, values: Mapping[str, float]) -> None:
        """Adds the values of one chain to a row of a check."""
        columns = self.checks.setdefault(check, {}).setdefault(row, {})
        for name, value in values.items():
            columns.setdefault(name, []).append(value)

    def note(self, chain: str, values: Mapping[str, Any], prefix: str = "") -> None:
        """Adds cells to the row of a chain; numbers are rounded, and names written with underscores."""
        cells = self.chains.setdefault(chain, {})
        for name, value in values.items():
            column = f"{prefix} {name}".strip().replace(" ", "_")
            cells[column] = f"{value:.4f}" if isinstance(value, float) else value
