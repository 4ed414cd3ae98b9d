"""The curve of the learning rate: a list of segments that are evaluated in one place."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from numbers import Real
from typing import Any

from partoken.schedule.segment import DECAYS, ScheduleError, Segment

__all__ = ["Curve", "ScheduleError", "Segment", "Segments", "WarmupCosine"]


class Curve:
    r"""A curve of segments: a pure function of time, clamped to `[0, total]`.

    A segment moves from `start` to `end` while the part :math:`p` of it goes from 0 to 1:

    =============  ==================================================================================
    shape          share of the peak, with start :math:`a` and end :math:`b`
    =============  ==================================================================================
    constant       :math:`b`
    linear         :math:`a (1 - p) + b p`
    cosine         :math:`b + (a - b) \tfrac{1}{2} (1 + \cos(2 \pi c p))`, with the cycles :math:`c`
    sqrt           :math:`b + (a - b) \sqrt{1 - p}`
    1-sqrt         :math:`b + (a - b) (1 - \sqrt p)`
    polynomial     :math:`b + (a - b) (1 - p)^k`, with the power :math:`k`
    exponential    :math:`a (b / a)^p`
    inverse_sqrt   :math:`a / \sqrt{1 + p (a^2 / b^2 - 1)}`
    =============  ==================================================================================

    A segment without a start begins where the one before ends. The first one begins at 0 if it ends at the peak, as a
    warm-up does, and otherwise at the peak. A segment without an end stays if it is constant, goes on as
    :math:`1 / \sqrt t` since step 0 if it is an inverse square root, and ends at the minimum otherwise.

    The rate is the one of optimizer step (or epoch) `t`, counted from 0. So step 0 has the rate at which the curve
    begins, and the last step, `total - 1`, is one before its end. Past the end the rate stays.
    """

    segments: tuple[Segment, ...]
    """The segments in order."""
    total: float
    """End of the curve."""
    warmup: float
    """Length of the first segment if it rises, otherwise 0."""

    @cached_property
    def starts(self) -> tuple[float, ...]:
        """Time at which each segment begins."""
        return tuple(accumulate((segment.length for segment in self.segments[:-1]), initial=0))

    def timed(self) -> Iterator[tuple[Segment, float]]:
        """Yields each segment with the time at which it ends."""
        return zip(self.segments, (*self.starts[1:], self.total), strict=True)

    def factor(self, time: Any, minimum: float = 0.0, base: float = 1.0) -> Any:
        """Returns the rate at `time` as a factor of the peak.

        Arguments:
            time: a number, or a NumPy array of them.
            minimum: factor at which segments without an end finish.
            base: the peak rate, by which ends that are rates are divided.
        """
        ends = list(self.ends(minimum, base))
        if isinstance(time, Real):
            return self._value(max(bisect_right(self.starts, time) - 1, 0), float(time), ends, math)
        import numpy as np  # a preview needs none

        times = np.asarray(time, dtype=np.float64)
        places = np.maximum(np.searchsorted(self.starts, times, side="right") - 1, 0)
        conditions = [places == place for place in range(len(ends))]
        values = [self._value(place, times, ends, np) for place in range(len(ends))]
        return np.select(conditions, values)

    def rate(self, time: Any, base: float, eta_min: float = 0.0) -> Any:
        """Returns the rate at `time`, a number or an array, for a peak of `base` and a minimum of `eta_min`."""
        return base * self.factor(time, eta_min / base if eta_min else 0.0, base)

    def _value(self, place: int, time: Any, ends: Sequence[tuple[float, float]], m: Any) -> Any:
        segment = self.segments[place]
        part = (time - self.starts[place]) / (segment.whole or segment.length)
        part = min(max(part, 0.0), 1.0) if m is math else part.clip(0.0, 1.0)
        value = segment.value(*ends[place], part, m)
        return max(segment.floor, value) if m is math else m.maximum(segment.floor, value)

    def ends(self, minimum: float = 0.0, base: float = 1.0) -> Iterator[tuple[float, float]]:
        """Yields the shares of the peak between which each segment moves; see `factor`."""
        level: float | None = None
        for segment, begins in zip(self.segments, self.starts, strict=True):
            end = segment.end if segment.end_lr is None else segment.end_lr / base
            start = segment.start if segment.start is not None else level
            if start is None:
                start = 0.0 if end == 1 and segment.shape != "constant" else 1.0
            if end is None:
                finishes = begins + (segment.whole or segment.length)
                fallbacks = {"constant": start, "inverse_sqrt": start * math.sqrt(begins / finishes)}
                end = fallbacks.get(segment.shape, minimum)
            yield (end, end) if segment.shape == "constant" else (start, end)
            part = 1.0 if segment.whole is None else segment.length / segment.whole
            level = max(segment.floor, segment.value(start, end, part, math))

    def until(self, time: float) -> tuple[Segment, ...]:
        """Returns the segments up to a time above 0; the last one has its shape, and ends there."""
        kept = []
        for segment, begins in zip(self.segments, self.starts, strict=True):
            if begins + segment.length <= time:
                kept.append(segment)
            elif begins < time:
                kept.append(replace(segment, length=time - begins, whole=segment.whole or segment.length))
        return tuple(kept)


@dataclass(frozen=True)
class Segments(Curve):
    """Any list of segments; see `Curve` for how they join.

    Raises:
        ScheduleError: there is no segment.

    Example:
        >>> curve = Segments((Segment(2, "linear", 1), Segment(4, "constant"), Segment(4, "1-sqrt", 0)))
        >>> [round(curve.factor(t), 3) for t in range(11)]
        [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.293, 0.134, 0.0]
    """

    segments: tuple[Segment, ...]
    inherited: int = 0
    """Number of segments at the beginning that are those of the trunk; 0: the run is no fork."""

    def __post_init__(self) -> None:
        if not self.segments:
            raise ScheduleError("segments=[]: a curve has at least one segment")

    @cached_property
    def total(self) -> float:  # type: ignore[override]
        """End of the curve."""
        return self.starts[-1] + self.segments[-1].length

    @cached_property
    def warmup(self) -> float:  # type: ignore[override]
        """Length of the first segment if it rises, otherwise 0."""
        start, end = next(self.ends())
        return self.segments[0].length if start < end else 0

    @property
    def forked_at(self) -> float:
        """Time at which a fork has left its trunk; 0: the run is no fork."""
        return self.starts[self.inherited]

    def check(self, minimum: float = 0.0, base: float = 1.0, keys: Sequence[str] = ()) -> None:
        """Rejects segments that cannot be, or rise where they should fall.

        Arguments:
            minimum, base: see `factor`.
            keys: configuration key of each segment, for messages; by default `segments[0]`, ...

        Raises:
            ScheduleError: naming the segment.
        """
        pairs = zip(self.segments, self.ends(minimum, base), strict=True)
        for place, (segment, (start, end)) in enumerate(pairs):  # each is checked before it gives the next its start
            key = keys[place] if keys else f"segments[{place}]"
            if end > 1:
                raise ScheduleError(f"{key}: it ends at the rate {end * base:g}, above the peak {base:g}; lower it")
            if segment.shape in ("exponential", "inverse_sqrt") and min(start, end) <= 0:
                found = f"it goes from {start:g} to {end:g} of the peak"
                raise ScheduleError(f"{key}: {found}, and the shape {segment.shape} never reaches 0; end it above 0")
            is_last = 0 < place == len(self.segments) - 1
            if end > start and (segment.shape in DECAYS or is_last):
                raise ScheduleError(
                    f"{key}: the {segment.shape} decay would rise from {start:g} to {end:g} of the peak; lower its end"
                )


@dataclass(frozen=True)
class WarmupCosine(Curve):
    r"""The curve that rises linearly to the peak, falls along a cosine, and then stays at its last value.

    With time :math:`t` (optimizer steps or epochs), warm-up :math:`w`, total :math:`T`, floor :math:`f`, cycles
    :math:`c` and minimum :math:`m`, the rate as a factor of the peak is

    .. math::
        \max(f, t / w) \quad (t < w), \qquad
        m + (1 - m) \max(0, \tfrac{1}{2} (1 + \cos(2 \pi c p))), \quad p = \min(1, (t - w) / (T - w)) \quad (t \ge w)

    The convention is the one of transformers and optax: this is the rate of optimizer step (or epoch) `t`, counted from
    0. So step 0 has the floor of the warm-up, step `w` has the peak, and the last step, `T - 1`, is one before the
    minimum. Times are clamped to `[0, T]`, so the rate does not rise again past the end. The warm-up ignores the
    minimum.

    References:
        Goyal et al., Accurate, Large Minibatch SGD (2017), https://arxiv.org/abs/1706.02677 (warm-up)
        Loshchilov and Hutter, SGDR (2016), https://arxiv.org/abs/1608.03983 (cosine)

    Arguments:
        warmup: :math:`w`, 0 or more and below `total`; 0 starts at the peak.
        total: :math:`T`, in the unit of `warmup`.
        warmup_floor: :math:`f`, the smallest factor of the peak during warm-up, at most 1.
        num_cycles: :math:`c`, waves of the cosine, above 0; 0.5 falls once, 1.5 falls, rises and falls again.

    Raises:
        ScheduleError: a value that is negative or not finite, or a warm-up that does not reach the peak.

    Example:
        10,000 steps with 1,000 of warm-up, from 1e-3 to 1e-6:

        >>> curve = WarmupCosine(warmup=1000, total=10_000)
        >>> for t in (-1, 0, 500, 1000, 2500, 5000, 7500, 10_000, 20_000):
        ...     print(f"{t:6d} {curve.rate(t, base=1e-3, eta_min=1e-6):.3e}")
            -1 0.000e+00
             0 0.000e+00
           500 5.000e-04
          1000 1.000e-03
          2500 9.331e-04
          5000 5.872e-04
          7500 1.794e-04
         10000 1.000e-06
         20000 1.000e-06
    """

    warmup: float
    total: float
    warmup_floor: float = 0.0
    num_cycles: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
                raise ScheduleError(f"{name}={value!r}: must be a finite number, 0 or more")
        if self.warmup >= self.total:
            raise ScheduleError(f"warmup={self.warmup} must be below total={self.total}, or the peak is never reached")
        if self.num_cycles == 0 or self.warmup_floor > 1:
            raise ScheduleError(f"{self}: num_cycles must be above 0 and warmup_floor at most 1")

    @cached_property
    def segments(self) -> tuple[Segment, ...]:  # type: ignore[override]
        """The warm-up, unless it takes no time, and the cosine, which ends at the minimum."""
        cosine = Segment(self.total - self.warmup, "cosine", start=1.0, cycles=self.num_cycles)
        if self.warmup == 0:
            return (cosine,)
        return (Segment(self.warmup, "linear", 1.0, start=0.0, floor=self.warmup_floor), cosine)
