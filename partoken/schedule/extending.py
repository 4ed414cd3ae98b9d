"""What a longer or another plan does to each segment of a run that has begun."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from partoken.schedule.curve import Curve, Segments
from partoken.schedule.segment import Segment

__all__ = ["begun_decay", "count", "describe", "explain_segments"]


def count(number: float, unit: str) -> str:
    """Writes a number of epochs or steps.

    >>> count(1, "epoch"), count(1000, "step")
    ('1 epoch', '1,000 steps')
    """
    return f"{number:,.10g} {unit}{'s' * (number != 1)}"


def describe(segment: Segment, end: float, unit: str) -> str:
    """Writes a segment that ends at the rate `end`.

    >>> describe(Segment(5, "linear", 1.0), 1e-3, "step")
    'linear 5 steps to 1.00e-03'
    """
    target = "at" if segment.shape == "constant" else "to"
    return f"{segment.shape} {count(segment.length, unit)} {target} {end:.2e}"


def explain_segments(saved: Any, requested: Any, time: float) -> list[str]:
    """Returns a line for each segment that another plan changes; nothing without a list of segments.

    Arguments:
        saved: the plan of the checkpoint.
        requested: the plan that would continue from it.
        time: of the checkpoint, in the unit of the saved plan.
    """
    curves = _curves(saved, requested)
    if curves is None:
        return []
    unit = saved.interval
    lines = []
    for place, (before, after) in enumerate(zip_longest(*map(_timed, curves))):
        if before is not None and before[2] <= time and after is not None and after[2] <= time:
            continue  # over in both
        name = f"segment {place + 1}"
        if before is None or after is None:
            shape = (before or after)[0].shape
            lines.append(f"{name} ({shape}) {'is new' if before is None else 'is gone'}")
        elif before != after:
            lines.append(f"{name} ({before[0].shape}) {_change(before, after, time, unit)}")
    return lines


def begun_decay(saved: Any, requested: Any, time: float) -> str:
    """Returns why a run cannot change to the requested plan: a decay has begun that it changes; "" if none has.

    Arguments:
        saved, requested, time: see `explain_segments`.
    """
    curves = _curves(saved, requested)
    if curves is None:
        return ""
    ends = curves[0].ends(saved.min_lr / saved.lr, saved.lr)
    requests = list(_timed(curves[1]))
    for place, ((segment, begins, finishes), (start, end)) in enumerate(zip(_timed(curves[0]), ends, strict=True)):
        is_same = place < len(requests) and requests[place] == (segment, begins, finishes)
        if begins < time < finishes and end < start and not is_same:
            unit = saved.interval
            return (
                f"segment {place + 1}, the {segment.shape} decay, began at {unit} {begins:,.10g} and the checkpoint is "
                f"at {unit} {time:,.10g}: a decay that has begun cannot change. Fork before the decay: resume from a "
                f"checkpoint at or before {unit} {begins:,.10g}"
            )
    return ""


Timed = tuple[Segment, float, float]
"""A segment, and the times between which it lies."""


def _timed(curve: Curve) -> Iterator[Timed]:
    for begins, (segment, ends) in zip(curve.starts, curve.timed(), strict=True):
        yield segment, begins, ends


def _curves(saved: Any, requested: Any) -> tuple[Curve, Curve] | None:
    """Returns the curves of two plans, of which one is a list of segments; None if there are no such two."""
    before, after = getattr(saved, "curve", None), getattr(requested, "curve", None)
    if before is None or after is None or saved.interval != requested.interval:
        return None
    return (before, after) if isinstance(before, Segments) or isinstance(after, Segments) else None


def _change(before: Timed, after: Timed, time: float, unit: str) -> str:
    """Writes how a segment changes that is not over."""
    (old, begins, _), (new, now_begins, now_ends) = before, after
    if old.shape != new.shape:
        return f"becomes {new.shape}, {count(new.length, unit)}"
    phrases = []
    if begins != now_begins and max(begins, now_begins) > time:
        phrases.append(f"begins at {unit} {now_begins:,.10g} in place of {begins:,.10g}")
    if old.length != new.length:
        verb = "grows" if new.length > old.length else "shrinks"
        phrases.append(f"{verb} from {count(old.length, unit)} to {count(new.length, unit)}")
    if now_ends <= time:
        phrases.append("would be over")
    elif now_begins < time <= begins:
        phrases.append(f"would have begun before {unit} {time:,.10g}, so the rate jumps into its middle")
    return ", ".join(phrases) or "ends or begins at another rate"
