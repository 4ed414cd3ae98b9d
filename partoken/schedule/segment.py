"""One segment of a curve: its shape, and the formula of each shape. Only this module has the formulas."""

from dataclasses import dataclass
from typing import Any

from partoken.errors import UserError, check_choice, check_number

__all__ = ["DECAYS", "SHAPES", "ScheduleError", "Segment"]

SHAPES = ("constant", "linear", "cosine", "sqrt", "1-sqrt", "exponential", "polynomial", "inverse_sqrt")

DECAYS = ("1-sqrt", "exponential", "inverse_sqrt")
"""Shapes that can only fall."""

OPTIONS = {"power": "polynomial", "cycles": "cosine", "floor": "linear"}
"""Fields of a segment that one shape reads, with that shape."""


class ScheduleError(UserError):
    """The settings of a schedule cannot be met; the message names the keys, their values and the fix."""


@dataclass(frozen=True)
class Segment:
    """A part of a curve: how long it is, its shape, and where it ends.

    Raises:
        ScheduleError: a value that no curve allows. The message names a field as the configuration does: `to` is
            `end`, `to_lr` is `end_lr`, `from` is `start`.
    """

    length: float
    """In the unit of the curve, above 0."""
    shape: str = "linear"
    """One of `SHAPES`."""
    end: float | None = None
    """Share of the peak at the end, from 0 to 1. None: see `Curve`."""
    end_lr: float | None = None
    """Rate at the end, 0 or more, in place of a share."""
    start: float | None = None
    """Share of the peak at the beginning, from 0 to 1. None: where the segment before ends."""
    power: float = 1.0
    """Exponent of a polynomial, above 0."""
    cycles: float = 0.5
    """Waves of a cosine, above 0; 0.5 falls once."""
    floor: float = 0.0
    """Smallest share of the peak within a linear segment, from 0 to 1."""
    whole: float | None = None
    """Length of the whole shape, if a fork ends the segment before; None: `length`."""

    def __post_init__(self) -> None:
        try:
            check_choice("shape", self.shape, SHAPES)
            check_number("length", self.length, above=0)
            for name, value in (("to", self.end), ("from", self.start), ("floor", self.floor)):
                check_number(name, value, minimum=0, maximum=1, optional=name != "floor")
            check_number("to_lr", self.end_lr, minimum=0, optional=True)
            check_number("power", self.power, above=0)
            check_number("cycles", self.cycles, above=0)
        except UserError as error:
            raise ScheduleError(str(error)) from None
        if self.end is not None and self.end_lr is not None:
            raise ScheduleError(f"to={self.end} and to_lr={self.end_lr}: a segment ends at one of them; leave one out")
        if self.shape == "constant" and self.start is not None:
            raise ScheduleError(f"from={self.start}: a constant segment has one rate; give it with to")
        for name, shape in OPTIONS.items():
            if self.shape != shape and getattr(self, name) != getattr(type(self), name):
                raise ScheduleError(f"{name}={getattr(self, name)}: only the shape {shape} reads it; leave it out")

    @property
    def ends_at_minimum(self) -> bool:
        """Whether it ends at the minimum of the run."""
        return self.end is None and self.end_lr is None and self.shape not in ("constant", "inverse_sqrt")

    def value(self, start: float, end: float, p: Any, m: Any) -> Any:
        """Returns the share of the peak where the part `p`, from 0 to 1, of the segment is over.

        Arguments:
            start, end: shares of the peak between which the segment moves.
            p: a number, or an array of them.
            m: the module `math` for a number, `numpy` for an array.
        """
        match self.shape:
            case "linear":
                return start * (1 - p) + end * p
            case "cosine":
                return end + (start - end) * (0.5 * (1 + m.cos(2 * m.pi * self.cycles * p)))
            case "sqrt":
                return end + (start - end) * m.sqrt(1 - p)
            case "1-sqrt":
                return end + (start - end) * (1 - m.sqrt(p))
            case "polynomial":
                return end + (start - end) * (1 - p) ** self.power
            case "exponential":
                return start * (end / start) ** p
            case "inverse_sqrt":
                return start / m.sqrt(1 + p * ((start / end) ** 2 - 1))
            case _:
                return end + 0.0 * p
