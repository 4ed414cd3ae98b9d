"""The grammar of a schedule: from a list of segments, as a configuration has it, to a curve.

A segment is a mapping. Its `length` is a number in the unit of the schedule, `"100 steps"`, `"2.5 epochs"`, `"10%"` of
the run, or `"rest"`, for at most one segment; a length of 0 leaves the segment out. Its `shape` is one of `SHAPES`. It
ends at `to`, a share of the peak, or at the rate `to_lr`. `from` lets it begin with a jump. `repeat` runs it several
times, each `growth` times as long as the one before.

A list whose first segment is `{length: done}` forks off a checkpoint: that segment is what the checkpoint has done, and
per cent of the others are per cent of it.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from partoken.errors import UserError, check_choice, check_number, did_you_mean
from partoken.schedule.curve import Segments
from partoken.schedule.segment import SHAPES, ScheduleError, Segment

__all__ = ["check_segments", "is_fork", "read_fork", "read_segments", "segments"]

DONE = "done"
"""Length of the segment that a checkpoint has done."""

FIELDS = {"to": "end", "to_lr": "end_lr", "from": "start", "power": "power", "cycles": "cycles"}
"""Keys of a segment that are fields of `Segment`."""

KEYS = ("length", "shape", *FIELDS, "repeat", "growth")

LENGTH = re.compile(r"\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*(%|steps?|epochs?|)\s*", re.IGNORECASE)

EXAMPLE = "[{length: 5%, shape: linear, to: 1}, {length: rest, shape: cosine, to: 0}]"


def segments(
    listed: Sequence[Mapping[str, Any]], total: int, *, unit: str = "step", steps_per_epoch: int | None = None
) -> Segments:
    """Creates a curve, a function from time to rate, for any training loop.

    Arguments:
        listed: a mapping for each segment; see the head of this module.
        total: length of the run in `unit`.
        unit: "step" (optimizer steps) or "epoch".
        steps_per_epoch: optimizer steps of an epoch, for lengths in epochs.

    Raises:
        ScheduleError: naming the segment, the key, what was found and what is allowed.

    Example:
        >>> curve = segments([{"length": 2, "shape": "linear", "to": 1},
        ...                   {"length": "rest", "shape": "constant"},
        ...                   {"length": "40%", "shape": "1-sqrt", "to": 0}], total=10)
        >>> [float(round(rate, 4)) for rate in curve.rate(range(11), base=0.1)]
        [0.0, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.0293, 0.0134, 0.0]
    """
    curve, keys = read_segments(listed, total, unit, steps_per_epoch, "segments")
    curve.check(keys=keys)
    return curve


def check_segments(listed: Any, key: str) -> None:
    """Rejects segments that are invalid whatever the length of the run.

    Arguments:
        listed: as a configuration has it.
        key: configuration key of the list, for messages.
    """
    if is_fork(listed):
        _check_fork(listed, key)
    else:
        _read_all(listed, key)


def _read_all(listed: Any, key: str) -> list["_Read"]:
    """Returns the segments of a run that is no fork, of which at most one takes the rest."""
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise ScheduleError(f"{key}={listed!r}: must be a list of segments, such as {EXAMPLE}")
    read = [_Read.of(node, f"{key}[{place}]") for place, node in enumerate(listed)]
    if len(rests := [one.key for one in read if one.unit == "rest"]) > 1:
        raise ScheduleError(
            f"{rests[0]}.length=rest and {rests[1]}.length=rest: one segment takes the rest; give the other a length"
        )
    return read


def read_segments(
    listed: Any, total: int, unit: str, steps_per_epoch: int | None, key: str
) -> tuple[Segments, tuple[str, ...]]:
    """Returns the curve of a list of segments, and the configuration key of each of its segments.

    The ends of segments are rounded to whole steps or epochs, half up, so lengths that add up still do.

    Arguments:
        listed, total, unit, steps_per_epoch: see `segments`.
        key: configuration key of the list, for messages.
    """
    read = _read_all(listed, key)
    exact = _exact_lengths(read, total, unit, steps_per_epoch, key)
    curve, keys = _in_whole(read, exact, total, unit)
    if not curve:
        raise ScheduleError(f"{key}: all lengths are 0; give one of them the rest")
    return Segments(curve), keys


def is_fork(listed: Any) -> bool:
    """Returns whether a list of segments, as a configuration has it, forks off a checkpoint."""
    first = listed[0] if isinstance(listed, Sequence) and listed else None
    return isinstance(first, Mapping) and first.get("length") == DONE


def read_fork(
    listed: Any, done: int, unit: str, steps_per_epoch: int | None, key: str
) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """Returns the segments of a fork after those of its trunk, and the configuration key of each.

    Arguments:
        listed, unit, steps_per_epoch: see `segments`; the first of the list is what the checkpoint has done.
        done: length of that, in `unit`.
        key: configuration key of the list, for messages.
    """
    read = _check_fork(listed, key)
    own, keys = _in_whole(read, [_in_unit(one, done, unit, steps_per_epoch) for one in read], done, unit)
    if not own:
        raise ScheduleError(f"{key}: all lengths are 0, so the fork has nothing to train; give one of them steps")
    return own, keys


def _check_fork(listed: Sequence[Any], key: str) -> list["_Read"]:
    """Returns the segments of a fork after the first one, and rejects those that cannot be in it."""
    if unread := [name for name in listed[0] if name != "length"]:
        raise ScheduleError(
            f"{key}[0].{unread[0]}: length=done is what the checkpoint has done, with its rates; leave it out"
        )
    read = [_Read.of(node, f"{key}[{place}]") for place, node in enumerate(listed[1:], 1)]
    if not read:
        raise ScheduleError(f"{key}: a fork needs a segment after length=done, such as {{length: 20%, shape: linear}}")
    for one in read:
        if one.unit == "rest":
            raise ScheduleError(f"{one.key}.length=rest: a fork is as long as its segments; give steps, epochs or 20%")
    return read


def _in_whole(
    read: Sequence["_Read"], exact: Sequence[float], total: int, unit: str
) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """Returns segments of whole steps or epochs, and the configuration key of each."""
    curve: list[Segment] = []
    keys: list[str] = []
    time = 0.0
    for one, length in zip(read, exact, strict=True):
        for share in one.shares() if length else ():
            begins, time = math.floor(time + 0.5), time + length * share
            if (whole := math.floor(time + 0.5) - begins) < 1:
                raise ScheduleError(
                    f"{one.key}.length={one.written}: takes {length * share:.3g} of {total} {unit}s, which rounds to "
                    f"none; make it longer, or 0 to leave it out"
                    + ("; train.schedule_interval=step divides epochs" if unit == "epoch" else "")
                )
            curve.append(one.segment(whole))
            keys.append(one.key)
    return tuple(curve), tuple(keys)


@dataclass(frozen=True)
class _Read:
    """A segment whose length is not yet counted."""

    key: str
    written: Any
    """Its length as it was found."""
    number: float
    unit: str
    """"%", "step", "epoch", "rest", or "" for the unit of the schedule."""
    node: Mapping[str, Any]
    repeat: int
    growth: float

    @classmethod
    def of(cls, node: Any, key: str) -> "_Read":
        if not isinstance(node, Mapping) or "length" not in node:
            raise ScheduleError(
                f"{key}={node!r}: must be a mapping with a length, such as {{length: 10%, shape: linear}}"
            )
        for name in node:
            if name not in KEYS:
                raise ScheduleError(
                    f"{key}.{name} is no key of a segment; allowed: {', '.join(KEYS)}.{did_you_mean(str(name), KEYS)}"
                )
        repeat, growth = (1 if node.get(name) is None else node[name] for name in ("repeat", "growth"))
        number, unit = _read_length(node["length"], f"{key}.length")
        try:
            check_choice(f"{key}.shape", node.get("shape"), SHAPES)
            check_number(f"{key}.repeat", repeat, minimum=1, whole=True)
            check_number(f"{key}.growth", growth, above=0)
        except UserError as error:
            raise ScheduleError(str(error)) from None
        read = cls(key, node["length"], number, unit, node, repeat, growth)
        if repeat > 1 and node.get("from") is None:
            raise ScheduleError(f"{key}.repeat={repeat}: a segment that repeats needs from, the share it begins with")
        if repeat == 1 and growth != 1:
            raise ScheduleError(f"{key}.growth={growth}: only a segment with repeat above 1 reads it; leave it out")
        read.segment(1)
        return read

    def shares(self) -> Iterator[float]:
        """Yields the share of the length that each repetition takes."""
        weights = [self.growth**number for number in range(self.repeat)]
        return (weight / sum(weights) for weight in weights)

    def segment(self, length: float) -> Segment:
        given = {field: self.node[name] for name, field in FIELDS.items() if self.node.get(name) is not None}
        try:
            return Segment(length, self.node["shape"], **given)
        except ScheduleError as error:
            raise ScheduleError(f"{self.key}.{error}") from None


def _read_length(length: Any, key: str) -> tuple[float, str]:
    """Returns number and unit of a length."""
    text = str(length) if isinstance(length, int | float) and not isinstance(length, bool) else length
    if text == "rest":
        return 0.0, "rest"
    if text == DONE:
        raise ScheduleError(f"{key}=done: only the first segment of a list can be what a checkpoint has done")
    if not isinstance(text, str) or not (found := LENGTH.fullmatch(text)):
        raise ScheduleError(f"{key}={length!r}: must be a number of 0 or more, 100 steps, 2 epochs, 10% or rest")
    number, unit = float(found[1]), found[2].lower().removesuffix("s")
    if unit == "%" and number > 100:
        raise ScheduleError(f"{key}={length}: a segment takes at most 100% of the run")
    return number, unit


def _exact_lengths(read: Sequence[_Read], total: int, unit: str, steps_per_epoch: int | None, key: str) -> list[float]:
    """Returns the length of each segment in the unit of the schedule, before rounding."""
    lengths = [_in_unit(one, total, unit, steps_per_epoch) for one in read]
    taken = sum(lengths)
    rest = next((place for place, one in enumerate(read) if one.unit == "rest"), None)
    tolerance = 1e-9 * total
    written = " + ".join(str(one.written) for one in read if one.unit != "rest")
    found = f"the lengths {written} take {taken:,.10g} of {total:,} {unit}s"
    if rest is None:
        if abs(taken - total) > tolerance:
            raise ScheduleError(f"{key}: {found}; let them add up, or give one segment the length rest")
        return lengths
    if taken > total + tolerance:
        raise ScheduleError(f"{read[rest].key}.length=rest: nothing is left, {found}; shorten them")
    lengths[rest] = total - taken if total - taken > tolerance else 0.0
    return lengths


def _in_unit(one: _Read, total: int, unit: str, steps_per_epoch: int | None) -> float:
    """Returns a length in the unit of the schedule; 0 for the rest."""
    key = f"{one.key}.length={one.written}"
    if one.unit == "rest":
        return 0.0
    if one.unit == "%":
        return total * one.number / 100
    if one.unit == "epoch" and unit == "step":
        if steps_per_epoch is None:
            raise ScheduleError(f"{key}: the number of steps of an epoch is unknown; give steps or a share such as 10%")
        return float(math.floor(one.number * steps_per_epoch + 0.5))
    if one.unit == "step" and unit == "epoch":
        raise ScheduleError(f"{key}: steps are counted with train.schedule_interval=step; or give epochs or a share")
    if one.number != int(one.number):
        fix = "" if unit == "step" else "; train.schedule_interval=step takes fractions of an epoch"
        raise ScheduleError(f"{key}: must be a whole number of {unit}s{fix}")
    return one.number
