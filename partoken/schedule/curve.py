"""The curve of the learning rate: linear warm-up, then cosine, then constant. Only this module has the formula."""

import math
from dataclasses import dataclass
from numbers import Real

from partoken.errors import UserError

__all__ = ["ScheduleError", "WarmupCosine"]


class ScheduleError(UserError):
    """The settings of a schedule cannot be met; the message names the keys, their values and the fix."""


@dataclass(frozen=True)
class WarmupCosine:
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

    def factor(self, time: float, minimum: float = 0.0) -> float:
        """Returns the rate at `time` as a factor of the peak; the cosine ends at the factor `minimum`."""
        time = min(max(time, 0), self.total)
        if time < self.warmup:
            return max(self.warmup_floor, time / self.warmup)
        progress = (time - self.warmup) / (self.total - self.warmup)
        cosine = max(0.0, 0.5 * (1 + math.cos(2 * math.pi * self.num_cycles * progress)))
        return minimum + (1 - minimum) * cosine

    def rate(self, time: float, base: float, eta_min: float = 0.0) -> float:
        """Returns the rate at `time` for a peak of `base` and a minimum of `eta_min`."""
        return base * self.factor(time, eta_min / base if eta_min else 0.0)
